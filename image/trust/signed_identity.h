// What a signature may call the image that it was made for: "signedIdentity" of containers-policy.json(5). Pure
// functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "image/reference/reference.h"
#include "runtime/base/json.h"
#include "runtime/base/status.h"

namespace berth::image {

struct SignedIdentity {
  enum class Kind {
    kRepoDigestOrExact,  // of a tag: exactly that; of a digest: any name in the repository
    kExact,
    kRepository,
    kExactReference,   // `name`, whatever the image's own is
    kExactRepository,  // any name in the repository `name`
    kRemap,            // as kRepoDigestOrExact, after `prefix` of the image's repository became `signed_prefix`
  };
  Kind kind = Kind::kRepoDigestOrExact;
  std::string name;                   // normalised
  std::string prefix, signed_prefix;  // "host", or "host/path"
};

// InvalidArgument names the field, beginning with `where`.
absl::StatusOr<SignedIdentity> ParseSignedIdentity(const Json& json, const std::string& where);

// Whether a signature that says it is for `signed_name` is one for `image`. A name that is malformed, or that has both
// a tag and a digest, is for nothing.
bool IdentityAccepts(const SignedIdentity& identity, const Reference& image, absl::string_view signed_name);

}  // namespace berth::image
