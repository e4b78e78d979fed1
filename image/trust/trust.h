// Whether an image may be pulled: first the policy file, then the verifier programs. Asked when it is known what the
// image's name means, before anything of its content is fetched.
#pragma once

#include <string>

#include "image/reference/reference.h"
#include "image/store.h"
#include "image/trust/signatures.h"
#include "image/trust/verifier_dir.h"
#include "runtime/base/status.h"

namespace berth::image {

struct TrustSubject {
  Reference reference;
  JudgedImage named;            // what the reference means: an index, or a manifest
  std::string manifest_digest;  // of the manifest for this platform, which may be the same
};

// OK when all agree. PermissionDenied, the message beginning with "SignatureValidationFailed: ": refused, or what the
// decision depends on is missing or malformed. Errors of `reader` other than NotFound and InvalidArgument as they are:
// they say nothing about the image, and the pull can be tried again.
// Reads the policy and its keys anew each time. Thread-safe. Blocking.
absl::Status CheckTrust(const TrustOptions& options, const TrustSubject& subject, const RepositoryReader& reader);

}  // namespace berth::image
