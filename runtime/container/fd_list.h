// The descriptors beside a plan, named by their index.
#pragma once

#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::container {

// -1 when `index` names none.
inline int FdAt(absl::Span<const int> fds, int index) {
  return index < 0 || static_cast<size_t>(index) >= fds.size() ? -1 : fds[static_cast<size_t>(index)];
}

// The same, taken out of the list; invalid when `index` names none.
inline sys::UniqueFd TakeFd(std::vector<sys::UniqueFd>& fds, int index) {
  if (index < 0 || static_cast<size_t>(index) >= fds.size()) return sys::UniqueFd();
  return std::move(fds[static_cast<size_t>(index)]);
}

// The socket of the agent that gets the process's seccomp listener; -1 = its program has none.
inline int SeccompAgent(const shim::v1::Process& process, absl::Span<const int> fds) {
  return process.has_seccomp_agent_fd() ? FdAt(fds, process.seccomp_agent_fd()) : -1;
}

// What a process needs to enter its cgroup, and the shim to watch and kill it. Borrowed descriptors; -1 = none.
struct CgroupFds {
  int v2_dir = -1;
  std::vector<int> v1_tasks;
  int oom = -1;
  int kill = -1;
  int v1_procs = -1;
  int v1_freezer = -1;
  int v1_dir = -1;
  bool empty() const { return v2_dir < 0 && v1_tasks.empty(); }
};

inline CgroupFds ResolveCgroup(bool present, const shim::v1::CgroupJoin& join, absl::Span<const int> fds) {
  CgroupFds out;
  if (!present) return out;
  out.v2_dir = FdAt(fds, join.v2_dir_fd());
  for (int index : join.v1_tasks_fds()) {
    if (int fd = FdAt(fds, index); fd >= 0) out.v1_tasks.push_back(fd);
  }
  out.oom = FdAt(fds, join.oom_fd());
  out.kill = FdAt(fds, join.kill_fd());
  out.v1_procs = FdAt(fds, join.v1_procs_fd());
  out.v1_freezer = FdAt(fds, join.v1_freezer_fd());
  if (join.has_v1_dir_fd()) out.v1_dir = FdAt(fds, join.v1_dir_fd());
  return out;
}

}  // namespace berth::container
