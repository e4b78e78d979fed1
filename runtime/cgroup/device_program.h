// The device rules of cgroup v2: a BPF program that the kernel asks at each open and mknod of a
// device (BPF_PROG_TYPE_CGROUP_DEVICE).
#pragma once

#include <linux/bpf.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/limits.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cgroup {

// The program for a list of rules; pure. It returns 1 when a rule of the type and numbers allows
// all of the access that is asked, else 0.
std::vector<bpf_insn> CompileDeviceRules(const std::vector<DeviceRule>& rules);

// Loaded programs by their rules: loading costs 0.3 ms, attaching a loaded one a microsecond.
// A bounded number is kept open. Thread-safe.
class DevicePrograms {
 public:
  // Replaces whatever device programs are attached to the cgroup directory itself by the one for
  // `rules`.
  absl::Status Attach(int cgroup_dir, const std::vector<DeviceRule>& rules) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::StatusOr<std::shared_ptr<const sys::UniqueFd>> Load(const std::vector<DeviceRule>& rules)
      ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  std::map<std::string, std::shared_ptr<const sys::UniqueFd>> programs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::cgroup
