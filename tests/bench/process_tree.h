// CPU time and memory of all processes in a cgroup and the cgroups below it: a daemon with everything that it starts.
// Reads the cpuacct hierarchy of cgroup v1, or cgroup v2. Thread-safe; blocking.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::bench {

struct Process {
  pid_t pid = 0;
  std::string cgroup;  // the name of the cgroup that it is in, without the path
  std::string name;    // as in /proc/PID/comm
  int64_t pss_kib = 0;
};

class ProcessTree {
 public:
  // `cgroup` is a path below the hierarchy's root, as in "/bench/a". NotFound when it is not there.
  static absl::StatusOr<ProcessTree> Open(absl::string_view cgroup);
  // The same on a directory that holds a cgroup's files.
  static absl::StatusOr<ProcessTree> OpenDirectory(std::string directory);

  // CPU time that the tree has used since it was made, with what has ended since and with removed cgroups below.
  absl::StatusOr<absl::Duration> Cpu() const;

  // Waits until the tree hardly uses CPU any more: work that goes on after a call has answered is over. At most
  // `limit`.
  absl::Status Settle(absl::Duration limit = absl::Seconds(1)) const;

  // The cgroup of that name below this one, however deep. NotFound when there is none.
  absl::StatusOr<ProcessTree> Below(absl::string_view name) const;

  // The processes that live, with their proportional set size. One that ends while it is looked at is left out.
  absl::StatusOr<std::vector<Process>> Processes() const;

 private:
  ProcessTree(std::string directory, bool v2) : directory_(std::move(directory)), v2_(v2) {}
  std::string directory_;
  bool v2_;
};

// The value of a "KEY N" line, as in cpu.stat; NotFound without one.
absl::StatusOr<int64_t> ParseKeyed(absl::string_view text, absl::string_view key);

// "Pss:  12 kB" of /proc/PID/smaps_rollup, in KiB.
absl::StatusOr<int64_t> ParsePss(absl::string_view smaps_rollup);

}  // namespace berth::bench
