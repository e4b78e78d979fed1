#include "runtime/rootfs/apply.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/rootfs/steps.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::rootfs {
namespace {

using sys::UniqueFd;

// Directories and files are made with the modes that they are asked for.
class NoUmask {
 public:
  NoUmask() : old_(umask(0)) {}
  ~NoUmask() { umask(old_); }
  NoUmask(const NoUmask&) = delete;
  NoUmask& operator=(const NoUmask&) = delete;

 private:
  mode_t old_;
};

// On top of the template's root directory: no scratch directory is needed in it, and nothing of it
// can be reached from the rootfs, whose ".." is itself. pivot_root(2) refuses a shared mount
// anywhere near, so the rootfs is private until the end.
absl::Status AttachRootfs(int rootfs) {
  RETURN_IF_ERROR(sys::SetMountAttrs(rootfs, 0, 0, MS_PRIVATE, true));
  ASSIGN_OR_RETURN(UniqueFd root, sys::Open("/", O_PATH | O_DIRECTORY));
  return sys::AttachMount(rootfs, root.get(), "/");
}

absl::Status EnterRootfs(int rootfs) {
  if (fchdir(rootfs) != 0) return ErrnoError(errno, "chdir to the rootfs");
  if (syscall(SYS_pivot_root, ".", ".") != 0) return ErrnoError(errno, "pivot_root");
  // The old root lies on top of the new one now; "." is still the old.
  if (umount2(".", MNT_DETACH) != 0) return ErrnoError(errno, "umount the template");
  if (chdir("/") != 0) return ErrnoError(errno, "chdir '/'");
  return absl::OkStatus();
}

absl::Status FinishMounts(Build& build) {
  for (const UniqueFd& mount : build.readonly_later) {
    RETURN_IF_ERROR(sys::SetMountAttrs(mount.get(), MOUNT_ATTR_RDONLY, 0, 0, false));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Apply(const shim::v1::ContainerPlan& plan, absl::Span<const int> fds, StepTimer& timer,
                   Terminal* terminal) {
  NoUmask no_umask;
  timer.Begin("rootfs attach");
  ASSIGN_OR_RETURN(const int rootfs, PlanFd(fds, plan.rootfs_fd(), "rootfs"));
  Build build{.plan = plan, .fds = fds, .rootfs = rootfs};
  RETURN_IF_ERROR(AttachRootfs(rootfs), "rootfs");

  timer.Begin("mounts");
  RETURN_IF_ERROR(AttachMounts(build));

  timer.Begin("devices");
  RETURN_IF_ERROR(VerifyDevices(build));
  RETURN_IF_ERROR(AttachDevices(build));
  if (terminal != nullptr && plan.process().tty()) RETURN_IF_ERROR(AttachConsole(build, *terminal));
  RETURN_IF_ERROR(FinishMounts(build));

  timer.Begin("masked paths");
  RETURN_IF_ERROR(MaskPaths(build));
  timer.Begin("readonly paths");
  RETURN_IF_ERROR(ProtectPaths(build));

  timer.Begin("pivot root");
  RETURN_IF_ERROR(EnterRootfs(rootfs));
  const uint64_t readonly = plan.readonly_rootfs() ? MOUNT_ATTR_RDONLY : 0;
  if (readonly != 0 || plan.rootfs_propagation() != 0) {
    RETURN_IF_ERROR(sys::SetMountAttrs(rootfs, readonly, 0, plan.rootfs_propagation(), false), "rootfs");
  }
  return absl::OkStatus();
}

}  // namespace berth::rootfs
