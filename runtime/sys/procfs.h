// A procfs of our own, mounted nowhere: /proc of a container or a host is never written through (a container could
// have mounted something else over it). Every path is resolved beneath it, without symlinks and mounts on the way,
// and what was opened is verified to be procfs.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// Of the caller's pid namespace. /proc/sys shows the namespaces of whoever opens a file in it.
absl::StatusOr<UniqueFd> OpenDetachedProcfs();

// One write to a file beneath it. InvalidArgument when it is not a file of procfs.
absl::Status WriteProc(int procfs, absl::string_view path, absl::string_view value);

// The caller's number in that procfs, which differs from getpid() inside a pid namespace.
absl::StatusOr<pid_t> SelfIn(int procfs);

// Writes the caller's oom_score_adj.
absl::Status SetOomScoreAdj(int procfs, int value);

// Direct children of a process, those of each of its threads. Empty when it is gone.
std::vector<pid_t> ChildrenOf(int procfs, pid_t pid);

// State letter, parent and process group from /proc/PID/stat; false when it is gone.
struct ProcessStat {
  char state = '?';
  pid_t parent = 0, group = 0;
};
bool ReadStat(int procfs, pid_t pid, ProcessStat* out);

}  // namespace berth::sys
