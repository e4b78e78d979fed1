// Where the processes of a pod live, and how that place comes to be. With the cgroupfs driver a pod's parent is a path
// and everything beneath it is made by mkdir: PARENT/POD for the shim, PARENT/CONTAINER beside it. With the systemd
// driver the parent is a slice, and systemd makes one scope in it for the pod, whose subtree is then ours alone:
// SCOPE/shim and SCOPE/CONTAINER (docs/design/0021-cgroups.md).
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sys/spawn.h"

namespace berth::cgroup {

enum class Driver { kCgroupfs, kSystemd };

// "auto", "cgroupfs" or "systemd" (else InvalidArgument). auto is systemd where that is the init and cgroups are v2.
// FailedPrecondition for systemd where it is not so.
absl::StatusOr<Driver> ChooseDriver(absl::string_view name, const Hierarchy& hierarchy);

// The parent of pods that name none, when the configuration names none either.
absl::string_view DefaultParent(Driver driver);

// The cgroup of a pod. InvalidArgument for a parent that does not have the driver's form.
absl::StatusOr<std::string> PathOfPod(Driver driver, absl::string_view parent, absl::string_view pod_id);
// The cgroup of a container; of the pod's only the path is needed, so a record says it whatever the driver is now.
std::string PathOfContainer(absl::string_view pod_path, absl::string_view container_id);

// Thread-safe; operations on one pod are the caller's to order. Blocking.
class PodCgroups {
 public:
  // `holder` is the program (berth-shim) that keeps a new scope until a shim lives in it.
  PodCgroups(Hierarchy& hierarchy, Driver driver, std::string holder)
      : hierarchy_(hierarchy), driver_(driver), holder_(std::move(holder)) {}
  Driver driver() const { return driver_; }

  // A pod's cgroup that is being made: the shim is put into `shim`, and then Finish is called. Before, only the holder
  // keeps systemd from collecting the scope.
  struct Unfinished {
    Cgroup shim;
    std::unique_ptr<sys::IdleChild> holder;
  };
  // On error nothing is left behind.
  absl::StatusOr<Unfinished> Make(const std::string& pod_path);
  // With the shim in it: lets the holder go and makes the controllers available to the containers.
  void Finish(const std::string& pod_path, Unfinished made);
  // The pod's cgroup and all beneath it, whichever driver made it. Its processes have been killed; errors as of
  // Hierarchy::Remove. OK when it is not there.
  absl::Status Remove(const std::string& pod_path);
  // A parent that has no pods any more, unless others use it. A hint: errors are not told.
  void RemoveParent(const std::string& parent);

 private:
  Hierarchy& hierarchy_;
  const Driver driver_;
  const std::string holder_;
};

}  // namespace berth::cgroup
