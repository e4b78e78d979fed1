// Content digests as the OCI image-spec writes them (descriptor.md, "Digests"): "sha256:" and 64 lower-case
// hexadecimal digits, or "sha512:" and 128.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

struct evp_md_ctx_st;

namespace berth::image {

// InvalidArgument unless `digest` has exactly one of the two forms. Only a digest that passed may name a file.
absl::Status CheckDigest(absl::string_view digest);

// The part after the colon of a digest that CheckDigest accepts: it names files. The two algorithms cannot collide,
// their lengths differ.
absl::string_view DigestHex(absl::string_view digest);
// The digest that DigestHex made `hex` from.
absl::StatusOr<std::string> DigestFromHex(absl::string_view hex);

// A running hash. Not thread-safe.
class Hasher {
 public:
  // For comparison with `like`, which CheckDigest accepts: the same algorithm is used.
  explicit Hasher(absl::string_view like = "sha256:");
  void Update(absl::string_view bytes);
  // "sha256:…" of all that was given. The object is spent.
  std::string Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
  std::string algorithm_;
};

// "sha256:…" of `bytes`.
std::string Sha256Digest(absl::string_view bytes);

// DataLoss unless `bytes` have that digest; InvalidArgument when `digest` is malformed.
absl::Status VerifyDigest(absl::string_view digest, absl::string_view bytes);

}  // namespace berth::image
