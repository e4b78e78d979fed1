// WWW-Authenticate as RFC 9110 section 11.6.1 writes it: what a registry asks for when it refuses. A pure function.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth::image {

struct Challenge {
  std::string scheme;                         // lower case: "bearer", "basic"
  std::map<std::string, std::string> params;  // names in lower case, values unquoted

  // The parameter, or "".
  std::string Param(const std::string& name) const;
};

// One header may hold several challenges. What is malformed ends the list; what was read before it is kept.
std::vector<Challenge> ParseChallenges(absl::string_view header);

}  // namespace berth::image
