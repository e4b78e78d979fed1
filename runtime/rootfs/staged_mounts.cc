#include "runtime/rootfs/staged_mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "runtime/rootfs/steps.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/namespace.h"

namespace berth::rootfs {
namespace {

using shim::v1::ContainerPlan;
using shim::v1::MountStep;
using sys::UniqueFd;

constexpr uint64_t kStrict = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

absl::Status AttachAt(int stage, const std::string& name, bool file, int mount) {
  if (file) {
    RETURN_IF_ERROR(sys::OpenAt(stage, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
  } else if (mkdirat(stage, name.c_str(), 0700) != 0) {
    return ErrnoError(errno, absl::StrCat("mkdir '", name, "'"));
  }
  ASSIGN_OR_RETURN(UniqueFd target, sys::OpenAt(stage, name, O_PATH | O_NOFOLLOW));
  return sys::AttachMount(mount, target.get(), name);
}

// A new mount of `type`, if the plan asks for one.
absl::Status Show(const ContainerPlan& plan, MountStep::Kind kind, const char* type, int stage) {
  for (const MountStep& step : plan.mounts()) {
    if (step.kind() != kind) continue;
    ASSIGN_OR_RETURN(UniqueFd mount, sys::MountDetached(type, {}, kStrict));
    return AttachAt(stage, type, false, mount.get());
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status StageMounts(const ContainerPlan& plan, absl::Span<const int> fds) {
  RETURN_IF_ERROR(sys::Unshare(CLONE_NEWNS), "stage");
  ASSIGN_OR_RETURN(UniqueFd stage, sys::MountDetached("tmpfs", {sys::FsOption::String("mode", "755")}, kStrict));
  ASSIGN_OR_RETURN(UniqueFd at, sys::Open("/mnt", O_PATH | O_DIRECTORY));
  RETURN_IF_ERROR(sys::AttachMount(stage.get(), at.get(), "/mnt"));
  RETURN_IF_ERROR(Show(plan, MountStep::PROC, "proc", stage.get()));
  RETURN_IF_ERROR(Show(plan, MountStep::SYSFS, "sysfs", stage.get()));
  for (int i = 0; i < plan.mounts_size(); ++i) {
    const MountStep& step = plan.mounts(i);
    if (step.kind() != MountStep::ATTACH) continue;
    ASSIGN_OR_RETURN(const int mount, PlanFd(fds, step.fd(), step.target()));
    RETURN_IF_ERROR(AttachAt(stage.get(), absl::StrCat(i), step.file(), mount), "stage '", step.target(), "'");
  }
  return absl::OkStatus();
}

absl::Status TakeStagedMounts(const ContainerPlan& plan, absl::Span<const int> fds) {
  for (int i = 0; i < plan.mounts_size(); ++i) {
    const MountStep& step = plan.mounts(i);
    if (step.kind() != MountStep::ATTACH) continue;
    ASSIGN_OR_RETURN(const int number, PlanFd(fds, step.fd(), step.target()));
    ASSIGN_OR_RETURN(UniqueFd staged, sys::Open(absl::StrCat("/mnt/", i), O_PATH | O_NOFOLLOW));
    ASSIGN_OR_RETURN(UniqueFd mount, sys::CloneTree(staged.get(), "", true), "mount '", step.target(), "'");
    if (dup3(mount.get(), number, O_CLOEXEC) < 0) return ErrnoError(errno, "dup3");
  }
  return absl::OkStatus();
}

}  // namespace berth::rootfs
