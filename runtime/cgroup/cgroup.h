// Control groups, of the old (v1, one tree for each controller) and the new kind (v2): daemon's
// side.
//
// A path is a cgroup's absolute name beneath the mount points, "/kubepods/podX/ID". InvalidArgument
// for one that is empty, relative, "/", or holds "." or "..".
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/limits.h"
#include "runtime/cgroup/stats.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::cgroup {

enum class Version { kV1, kV2 };

// The descriptors of one cgroup with which processes are put into it, watched and killed. What they
// refer to lives as long as the cgroup; the descriptors live as long as this.
class Cgroup {
 public:
  struct Descriptors {
    sys::UniqueFd v2_dir;
    std::vector<sys::UniqueFd> v1_tasks;
    sys::UniqueFd oom, kill, v1_procs, v1_freezer, v1_dir;
  };
  Cgroup(std::string path, Descriptors descriptors) : path_(std::move(path)), fds_(std::move(descriptors)) {}

  const std::string& path() const { return path_; }
  // Appends the descriptors (they stay this object's) to `fds`, and their indices to `join`; those
  // missing are -1.
  void AddTo(std::vector<int>* fds, shim::v1::CgroupJoin* join) const;

 private:
  std::string path_;
  Descriptors fds_;
};

// One hierarchy of a v1 cgroup as a mount, for the container's /sys/fs/cgroup.
struct HierarchyMount {
  std::string name;  // beneath /sys/fs/cgroup: "memory"
  sys::UniqueFd mount;
};

// Thread-safe; operations on one path are the caller's to order. Blocking.
class Hierarchy {
 public:
  // Finds out what is mounted beneath `root`. With v1 controllers beside a unified tree without
  // controllers (a "hybrid" host) the answer is v1, and the unified tree is left alone. Unavailable
  // when there are no cgroups.
  static absl::StatusOr<std::unique_ptr<Hierarchy>> Probe(absl::string_view root = "/sys/fs/cgroup");
  // A v2 tree at `root`, whatever else is mounted.
  static absl::StatusOr<std::unique_ptr<Hierarchy>> OpenV2(absl::string_view root);

  virtual ~Hierarchy() = default;
  virtual Version version() const = 0;

  // Makes the cgroup and its missing parents, sets the limits and opens it. One that exists is used
  // as it is. On error, what was made of the last component is removed again. FailedPrecondition
  // naming the field when a limit's controller is not there; hugepage limits of 0 need none.
  virtual absl::StatusOr<Cgroup> Create(absl::string_view path, const Limits& limits) = 0;
  // NotFound when it does not exist.
  virtual absl::StatusOr<Cgroup> Open(absl::string_view path) = 0;
  // All or nothing: on error the former limits are in force, as far as files hold them (device rules are not taken
  // back). The answer is what Restore needs to take the update back later. FailedPrecondition naming
  // memory_limit_in_bytes when more memory is in use than that and cannot be given up. NotFound when there is no such
  // cgroup.
  virtual absl::StatusOr<std::vector<FileWrite>> Update(absl::string_view path, const Limits& limits) = 0;
  virtual absl::Status Restore(absl::string_view path, const std::vector<FileWrite>& former) = 0;
  // Makes the controllers available to the cgroups beneath it, before they have processes: enabling one later moves
  // them. FailedPrecondition when processes are in it itself. With v1 there is nothing to do.
  virtual absl::Status EnableControllers(absl::string_view path) = 0;
  // Its processes and those beneath it.
  virtual absl::StatusOr<std::vector<pid_t>> Pids(absl::string_view path) = 0;
  // Whether it has neither processes nor cgroups beneath it. False when it does not exist.
  virtual bool IsUnused(absl::string_view path) = 0;
  // Removes it and the cgroups beneath it. Retried while the kernel says EBUSY (processes that are
  // not reaped yet) until `timeout`; then FailedPrecondition with EBUSY. OK when it is not there.
  virtual absl::Status Remove(absl::string_view path, absl::Duration timeout = absl::Seconds(2)) = 0;
  // SIGKILL to every process in it and beneath it, frozen or not. When it returns, within about a second, they are
  // dying, not gone. OK when it is not there. DeadlineExceeded when processes keep appearing; FailedPrecondition when a
  // cgroup above it is frozen (v1).
  virtual absl::Status Kill(absl::string_view path) = 0;
  // Lets go on what somebody froze in it or beneath it. A hint: errors are not told.
  virtual void Thaw(absl::string_view path) = 0;
  // NotFound when it does not exist. Figures whose controller is missing are 0.
  virtual absl::StatusOr<Stats> ReadStats(absl::string_view path) = 0;
  // v1: each hierarchy's directory of the cgroup as a detached mount, read-only unless `writable`.
  // v2: none, since the container mounts cgroup2 itself.
  virtual absl::StatusOr<std::vector<HierarchyMount>> Mounts(absl::string_view path, bool writable) = 0;
};

}  // namespace berth::cgroup
