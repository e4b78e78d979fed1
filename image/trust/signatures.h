// Signatures as sigstore attaches them to an image: under the tag ALGORITHM-HEX.sig in its repository stands a manifest
// whose layers are the signed claims, each with its signature as an annotation (sigstore/cosign's SIGNATURE_SPEC.md).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

// How documents of the image's repository are got; errors as RegistrySession has them.
struct RepositoryReader {
  std::function<absl::StatusOr<std::string>(const std::string& tag)> manifest;
  std::function<absl::StatusOr<std::string>(const std::string& digest, uint64_t size)> blob;  // verified
};

struct AttachedSignature {
  std::string payload;    // the bytes that were signed
  std::string signature;  // as the algorithm makes it
};

// What a payload says; it is worth as much as the key that signed it.
struct SignedClaim {
  std::string manifest_digest;
  std::string name;  // "docker-reference", as it stands
};

constexpr size_t kMostSignatures = 100;        // of one manifest
constexpr size_t kLargestPayload = 128 << 10;  // bytes

// In the order of the manifest; none when there is no such tag. Layers of other kinds are passed over. InvalidArgument:
// a document that is malformed, or goes beyond the limits. Other errors of the reader as they are.
absl::StatusOr<std::vector<AttachedSignature>> FetchSignatures(const RepositoryReader& reader,
                                                               absl::string_view manifest_digest);

// InvalidArgument unless it is a claim of the type that sigstore makes for container images, and nothing else.
absl::StatusOr<SignedClaim> ParseClaim(absl::string_view payload);

}  // namespace berth::image
