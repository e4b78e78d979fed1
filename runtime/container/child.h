// What runs in the child between clone and exec, for a container's init and for an exec: an ordered table of named,
// timed steps. The shim has one thread, so the child may allocate; it does not log, takes no lock and leaves only by
// execve or _exit.
#pragma once

#include <sys/resource.h>

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/container/fd_list.h"
#include "runtime/security/listener.h"
#include "shim/v1/shim.pb.h"

namespace berth::container {

// Borrowed descriptors, in the numbers of the shim's table.
struct ChildContext {
  const shim::v1::ContainerPlan* plan = nullptr;  // of a container; null for an exec
  const shim::v1::Process* process = nullptr;
  absl::Span<const int> fds;
  CgroupFds cgroup;
  bool in_cgroup = false;  // by CLONE_INTO_CGROUP already
  int helper = -1;         // of a clone helper only: where it tells of the child
  int control = -1;        // reports go there, the release comes from there
  int stdin_fd = -1;       // standard streams; all -1 for a container with a terminal
  int stdout_fd = -1;
  int stderr_fd = -1;
  int procfs = -1;
  int rdt_tasks = -1;                            // of the resctrl class that it joins
  int target_pidfd = -1;                         // of an exec: whose namespaces it joins
  int userns = -1;                               // the pod's user namespace; -1 = the host's
  int oom_score_adj = 0;                         // of an exec whose process says nothing
  security::ListenerMailbox* mailbox = nullptr;  // of a process whose seccomp program notifies
  rlimit open_files = {};                        // the limit before the shim raised its own
};

// For a helper that is about to enter a pid namespace and clone the child there: closes what the child has no use for,
// and does what takes descriptors that nobody in there may see (cgroups, the host's procfs), which the child inherits.
absl::Status PrepareToEnter(ChildContext& context);

// Builds the container around the caller, reports, waits for one byte and executes.
[[noreturn]] void RunContainerChild(ChildContext& context);

// Joins the container and executes.
[[noreturn]] void RunExecChild(ChildContext& context);

}  // namespace berth::container
