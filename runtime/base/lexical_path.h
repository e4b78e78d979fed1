// Paths as text, without a file system. Pure.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace berth {

// What `path` names beneath a root, as seen inside of it: relative, without ".", empty parts and slashes at the ends;
// ".." at the root stays there. "a/./b/../../../c/" -> "c"; "" is the root.
std::string CleanInRoot(absl::string_view path);

}  // namespace berth
