// Killing all of a cgroup, soundly: none is missed because it forked meanwhile or is frozen, none is hit because a
// number was used again. By descriptor, for the daemon and the shim alike. Nothing here waits for a process to be gone,
// and nothing takes longer than about a second, whatever the processes do.
#pragma once

#include <sys/types.h>

#include <functional>
#include <set>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cgroup {

// The numbers in a cgroup.procs. 0, a process of another pid namespace, is left out.
std::vector<pid_t> ParsePids(absl::string_view procs);
// The processes of `dir` and of the cgroups beneath it, as this process's pid namespace numbers them.
absl::StatusOr<std::vector<pid_t>> ReadPids(int dir);

// SIGKILL to every process in `dir` and beneath it: a cgroup of v2, or one of a v1 hierarchy, which for certainty has
// to be the freezer's. v2: cgroup.kill. v1: freezes it, kills all, and thaws it and every cgroup beneath it, whoever
// froze them. Those that `signalled` holds got it already; it holds all of them afterwards. OK when `dir` was removed.
// DeadlineExceeded when processes keep appearing (only where they cannot be frozen); FailedPrecondition when a v1
// cgroup above this one is frozen, which keeps the signals from being taken.
absl::Status KillAllIn(int dir, std::set<pid_t>& signalled);

// Lets go on what is frozen in `dir` or beneath it; nothing when there is no freezer.
void Thaw(int dir);

// Any set of processes that can grow while it is killed.
struct KillTarget {
  std::function<std::vector<pid_t>()> members;
  std::function<bool()> freeze;  // whether all of them are frozen now
  std::function<void()> thaw;    // of whatever is frozen
};
// As above; false when processes keep appearing.
bool KillMembers(const KillTarget& target, std::set<pid_t>& signalled);

// Any signal to those that `members` names and `signalled` does not hold; it holds them then. How many these were.
// A process is signalled through a descriptor that was opened before it was named a second time.
size_t SignalMembers(const std::function<std::vector<pid_t>()>& members, int signal, std::set<pid_t>& signalled);

}  // namespace berth::cgroup
