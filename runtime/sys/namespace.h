// Namespaces of the calling thread (unshare(2), setns(2), pivot_root(2)).
#pragma once

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::sys {

// `flags` are CLONE_NEW*.
absl::Status Unshare(int flags);

// Joins by a namespace's descriptor, or by a pidfd and any set of CLONE_NEW* (Linux 5.8). Joining a pid namespace
// is for children made later, not for the caller.
absl::Status JoinNamespaces(int fd, int flags, absl::string_view what);

absl::Status SetHostname(absl::string_view name);

// Sets the loopback interface of the network namespace up.
absl::Status BringLoopbackUp();

// Makes the mount namespace's root a new, empty tmpfs and lets go of everything that was mounted: nothing of the
// host can be reached by name afterwards. The caller has its own mount namespace; `mountpoint` is any directory.
// The tmpfs holds the one directory /mnt, for a process that has a copy of the namespace to mount something at.
absl::Status ReplaceRootByEmptyTmpfs(absl::string_view mountpoint);

}  // namespace berth::sys
