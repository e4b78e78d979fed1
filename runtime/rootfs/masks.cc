#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "runtime/rootfs/steps.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::rootfs {
namespace {

using sys::UniqueFd;

// Opens what is to be covered; an invalid descriptor when it is not there, which is no error.
absl::StatusOr<UniqueFd> OpenCovered(int rootfs, const std::string& path) {
  auto fd = sys::OpenInRoot(rootfs, path, O_PATH);
  if (fd.ok()) return fd;
  const int err = ErrnoOf(fd.status());
  if (err == ENOENT || err == ENOTDIR) return UniqueFd();
  return fd;
}

// One empty tmpfs covers all masked directories of the container: nobody can write to it.
class EmptyDirs {
 public:
  absl::Status Cover(int target, const std::string& path) {
    if (!attached_.valid()) {
      ASSIGN_OR_RETURN(attached_, sys::MountDetached(
                                      "tmpfs",
                                      {sys::FsOption::String("nr_blocks", "1"), sys::FsOption::String("nr_inodes", "1"),
                                       sys::FsOption::String("mode", "755"), sys::FsOption::Flag("ro")},
                                      kAttrs));
      return sys::AttachMount(attached_.get(), target, path);
    }
    ASSIGN_OR_RETURN(UniqueFd clone, sys::CloneTree(attached_.get(), "", false));
    return sys::AttachMount(clone.get(), target, path);
  }

 private:
  static constexpr uint64_t kAttrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  UniqueFd attached_;
};

absl::Status CoverFile(Build& build, int target, const std::string& path) {
  if (build.null < 0) {
    return absl::FailedPreconditionError(absl::StrCat("mask '", path, "': the plan has no /dev/null to cover it with"));
  }
  // A detached mount cannot be cloned before Linux 6.15, so the first use is the mount itself.
  if (!build.null_attached) {
    build.null_attached = true;
    return sys::AttachMount(build.null, target, path);
  }
  ASSIGN_OR_RETURN(UniqueFd clone, sys::CloneTree(build.null, "", false));
  return sys::AttachMount(clone.get(), target, path);
}

}  // namespace

absl::Status MaskPaths(Build& build) {
  EmptyDirs empty;
  for (const std::string& path : build.plan.masked_paths()) {
    ASSIGN_OR_RETURN(UniqueFd target, OpenCovered(build.rootfs, path), "mask '", path, "'");
    if (!target.valid()) continue;
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(target.get(), path));
    RETURN_IF_ERROR(S_ISDIR(st.st_mode) ? empty.Cover(target.get(), path) : CoverFile(build, target.get(), path),
                    "mask '", path, "'");
  }
  return absl::OkStatus();
}

absl::Status ProtectPaths(Build& build) {
  for (const std::string& path : build.plan.readonly_paths()) {
    ASSIGN_OR_RETURN(UniqueFd target, OpenCovered(build.rootfs, path), "protect '", path, "'");
    if (!target.valid()) continue;
    ASSIGN_OR_RETURN(UniqueFd clone, sys::CloneTree(target.get(), "", true), "protect '", path, "'");
    RETURN_IF_ERROR(sys::SetMountAttrs(clone.get(), MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, true), "protect '", path, "'");
    RETURN_IF_ERROR(sys::AttachMount(clone.get(), target.get(), path));
  }
  return absl::OkStatus();
}

}  // namespace berth::rootfs
