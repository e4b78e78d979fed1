// Giving a volume the label of the container that uses it (Mount.selinux_relabel).
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::security {

// Sets the SELinux label of `path` (symlinks in it are followed) and of all that lies beneath it: symlinks themselves,
// not what they name, and nothing on other mounts. A file system without labels is left as it is. InvalidArgument for
// the root and for directories that are the host's own, such as /usr and /etc: relabelling one would lock the host out.
// Blocking: a walk.
absl::Status Relabel(absl::string_view path, const std::string& label);

// Whether a path without symlinks is one that is never relabelled. Pure.
bool IsHostDirectory(absl::string_view path);

}  // namespace berth::security
