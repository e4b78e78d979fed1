// Decides what is mounted where in a container. Pure functions, for the daemon; the result goes
// into shim.v1.ContainerPlan. Descriptor numbers in the steps are indices into the plan's
// descriptor list.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "shim/v1/shim.pb.h"

namespace berth::rootfs {

using shim::v1::MountStep;

// A detached mount to attach at `target`. v1 cgroup hierarchies, volumes, /etc/hosts and the like.
struct Attachment {
  std::string target;  // absolute, inside the container
  int fd = -1;         // index in the descriptor list
  bool file = false;
  // What is mounted in it appears on the host too (Propagation::kBidirectional).
  bool shared = false;
};

struct MountPlanInput {
  bool privileged = false;  // sysfs and cgroups writable
  // Version 2: a cgroup2 is mounted. Otherwise a tmpfs holds `cgroup_v1`, one attachment for each
  // hierarchy (see cgroup::Hierarchy::Mounts); their targets are names such as "memory", relative
  // to /sys/fs/cgroup.
  bool cgroup_v2 = false;
  std::vector<Attachment> cgroup_v1;
  int shm_fd = -1;                  // the pod's /dev/shm; -1 = a private tmpfs of 64 MiB
  std::vector<Attachment> volumes;  // of the request, in its order
};

// The standard mounts (/proc, /dev, /dev/pts, /dev/mqueue, /dev/shm, /sys, /sys/fs/cgroup) and the
// volumes, parents before children. A volume at the target of a standard mount replaces it; one at
// /dev replaces all beneath /dev too, one at /sys/fs/cgroup all of the cgroup mounts, a shared one all that lies in it:
// the host would find them there as well. Of two
// volumes with one target the later one is mounted on top. InvalidArgument: a target that is not
// absolute, is "/" or holds "..".
absl::StatusOr<std::vector<MountStep>> PlanMounts(const MountPlanInput& input);

// Labels the files of the mounts that are the container's alone: /dev, /dev/pts and other tmpfs with `mount`,
// the message queues, which all of a pod's containers have, with `pod`. Empty: nothing changes. What the kernel fills
// (proc, sysfs, cgroups) takes no labels.
void AddSelinuxContexts(absl::string_view mount, absl::string_view pod, std::vector<MountStep>& steps);

// Whether `mounts` bring a fresh /dev that is to be filled with the default devices.
bool HasOwnDev(const std::vector<MountStep>& mounts);

// "/a//b/./c/" -> "/a/b/c". InvalidArgument unless absolute and free of "..".
absl::StatusOr<std::string> CleanTarget(absl::string_view path);

}  // namespace berth::rootfs
