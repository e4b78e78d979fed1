// Cloning the child of a container or an exec, seen from the shim.
#pragma once

#include <sys/resource.h>

#include <vector>

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/container/child.h"
#include "runtime/sys/unique_fd.h"
#include "runtime/sys/user_namespace.h"
#include "shim/v1/shim.pb.h"

namespace berth::container {

// What a shim lends to every child.
struct SpawnEnvironment {
  int procfs = -1;
  int pod_init_pidfd = -1;               // of the built-in init, -1 = the pod shares no pid namespace
  int userns = -1;                       // the pod's user namespace, -1 = the host's
  std::vector<sys::IdRange> uids, gids;  // and how it maps
  rlimit open_files = {};
};

struct Spawned {
  pid_t pid = 0;  // in the shim's pid namespace
  uint64_t clone_nanoseconds = 0;
  sys::UniqueFd pidfd;
  sys::UniqueFd control;  // non-blocking: reports come from it
  // Of a container without terminal: what it writes. Non-blocking.
  sys::UniqueFd stdout_fd;
  sys::UniqueFd stderr_fd;
  sys::UniqueFd stdin_fd;                      // the write end, when the plan keeps one
  security::ListenerMailbox::Pointer mailbox;  // of a process whose seccomp program notifies
};

// Both may leave a helper process that is about to exit, for the caller to reap as it reaps orphans.

// The child builds the container and reports. InvalidArgument for a plan that contradicts itself.
absl::StatusOr<Spawned> SpawnContainer(const SpawnEnvironment& environment, const shim::v1::ContainerPlan& plan,
                                       absl::Span<const int> fds);

// What an exec needs of its container.
struct ExecTarget {
  int pidfd = -1;
  bool joins_pid_namespace = true;  // false: the container lives in the shim's own
  int oom_score_adj = 0;
  const CgroupFds* cgroup = nullptr;  // where it goes when the plan names no cgroup
};
absl::StatusOr<Spawned> SpawnExec(const SpawnEnvironment& environment, const ExecTarget& target,
                                  const shim::v1::ExecPlan& plan, absl::Span<const int> fds);

}  // namespace berth::container
