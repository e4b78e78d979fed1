// clone3(2). Only for processes of one thread: the child is a plain copy that may run any code, and leaves by execve
// or _exit.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

struct CloneResult {
  pid_t pid = 0;   // 0 in the child
  UniqueFd pidfd;  // of the child; not set in the child
};

// `flags` are CLONE_NEW* and CLONE_PARENT. `cgroup_fd` >= 0 puts the child into that cgroup v2 directory from its first
// instant (CLONE_INTO_CGROUP, Linux 5.7). The parent gets SIGCHLD.
absl::StatusOr<CloneResult> Clone(uint64_t flags, int cgroup_fd = -1);

}  // namespace berth::sys
