// Which images may be pulled: the format of containers-policy.json(5), as far as it concerns registries. Pure
// functions. What is not understood is an error, never a permission.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/reference/reference.h"
#include "image/trust/signed_identity.h"
#include "runtime/base/status.h"

namespace berth::image {

struct Requirement {
  enum class Kind {
    kAcceptAnything,
    kReject,
    kSigstoreSigned,
    kUnsupported,  // valid, but asks for what berth cannot check: refuses every image that it applies to
  };
  Kind kind = Kind::kReject;
  std::string where;  // its place in the document, as "default[0]"
  std::string type;   // as the document names it; of kUnsupported with the field at fault: "sigstoreSigned with fulcio"
  // Of kSigstoreSigned, one of the two is not empty: any of the keys may have signed.
  std::vector<std::string> key_paths;  // absolute
  std::vector<std::string> keys;       // PEM
  SignedIdentity identity;
};

struct Policy {
  std::vector<Requirement> fallback;                       // "default"; never empty
  std::map<std::string, std::vector<Requirement>> docker;  // by scope, those of registries; "" is all of them
};

// InvalidArgument "PLACE: what is wrong".
absl::StatusOr<Policy> ParsePolicy(absl::string_view text);

// All of these must hold for `image`: those of the most specific scope that names it. Letter case of the host does not
// matter.
const std::vector<Requirement>& RequirementsFor(const Policy& policy, const Reference& image);

}  // namespace berth::image
