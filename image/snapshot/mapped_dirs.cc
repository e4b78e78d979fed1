#include "image/snapshot/mapped_dirs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::image {

absl::Status CannotMapIds(const absl::Status& why) {
  return absl::FailedPreconditionError(
      absl::StrCat("the kernel or the file system of the images maps no ids: ", why.message()));
}

absl::StatusOr<MappedDirs> MappedDirs::Map(absl::Span<const int> dirs, int userns) {
  MappedDirs out;
  if (userns < 0) {
    out.fds_.assign(dirs.begin(), dirs.end());
    return out;
  }
  for (int dir : dirs) {
    ASSIGN_OR_RETURN(sys::UniqueFd mount, sys::CloneTree(dir, "", false));
    absl::Status status = sys::MapMountIds(mount.get(), userns);
    if (const int err = ErrnoOf(status); err == EINVAL || err == ENOSYS || err == EPERM) return CannotMapIds(status);
    RETURN_IF_ERROR(status);
    out.fds_.push_back(mount.get());
    out.owned_.push_back(std::move(mount));
  }
  return out;
}

absl::Status GiveToMappedOwner(int dir, int like, int userns) {
  ASSIGN_OR_RETURN(MappedDirs mapped, MappedDirs::Map({&like, 1}, userns));
  ASSIGN_OR_RETURN(struct stat on_disk, sys::StatFd(like, "layer"));
  ASSIGN_OR_RETURN(struct stat inside, sys::StatFd(mapped.Get()[0], "layer"));
  ASSIGN_OR_RETURN(struct stat now, sys::StatFd(dir, "directory"));
  if (now.st_uid != on_disk.st_uid || now.st_gid != on_disk.st_gid) return absl::OkStatus();
  if (fchownat(dir, "", inside.st_uid, inside.st_gid, AT_EMPTY_PATH) != 0) return ErrnoError(errno, "chown");
  return absl::OkStatus();
}

}  // namespace berth::image
