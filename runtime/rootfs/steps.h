// The parts of Apply. Internal to runtime/rootfs; linked into the static shim.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/rootfs/apply.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::rootfs {

// A tmpfs of the plan that nothing but these steps has written to.
struct FreshDir {
  std::string path;
  sys::UniqueFd dir;
};

// What the steps share: the plan, and the rootfs as it grows.
struct Build {
  const shim::v1::ContainerPlan& plan;
  absl::Span<const int> fds;
  int rootfs;  // attached
  // The tmpfs that the plan puts at /dev, when it does.
  sys::UniqueFd dev;
  std::vector<FreshDir> fresh;
  // Made read-only when everything below them is in place.
  std::vector<sys::UniqueFd> readonly_later;
  // The verified /dev/null among the plan's devices, -1 = none; a detached mount until it is
  // attached somewhere.
  int null = -1;
  bool null_attached = false;
};

// The descriptor at `index` of the plan's list. InvalidArgument with `what` when there is none.
absl::StatusOr<int> PlanFd(absl::Span<const int> fds, int index, absl::string_view what);

// mounts.cc: the plan's mounts in order, then /proc checked.
absl::Status AttachMounts(Build& build);
// The place for a mount at `path`, made when missing, as MakeTargetDir and MakeTargetFile do.
absl::StatusOr<sys::UniqueFd> MakeTarget(Build& build, const std::string& path, bool file);

// dev.cc
absl::Status VerifyDevices(Build& build);
absl::Status AttachDevices(Build& build);
absl::Status AttachConsole(Build& build, Terminal& terminal);

// masks.cc
absl::Status MaskPaths(Build& build);
absl::Status ProtectPaths(Build& build);

}  // namespace berth::rootfs
