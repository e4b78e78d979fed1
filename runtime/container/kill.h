// Killing many processes at once, soundly: none is missed because it forked meanwhile, none is hit because a number
// was used again.
#pragma once

#include <sys/types.h>

#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/container/fd_list.h"

namespace berth::container {

// Whether the descriptors allow to reach every process of the cgroup.
bool CanKillCgroup(const CgroupFds& cgroup);

// SIGKILL to every process in the cgroup and beneath it, frozen or not; see runtime/cgroup/kill.h. Takes a second at
// the most; does not wait for the processes to be gone.
absl::Status KillCgroup(const CgroupFds& cgroup);

// Any signal to every process that is in the cgroup now.
absl::Status SignalCgroup(const CgroupFds& cgroup, int signal);

// SIGKILL to `leader` (a child of ours, not yet reaped) and everything that descends from it. The leader is stopped
// first and killed last, and it is a subreaper: so whatever it started stays beneath it, however it detached itself.
// Takes a tenth of a second: false when new descendants kept appearing all that time. The leader lives then, stopped,
// and this is to be called again.
bool KillTree(int procfs, pid_t leader);

// Another signal to all of them. One that is born meanwhile may miss it.
void SignalTree(int procfs, pid_t leader, int signal);

}  // namespace berth::container
