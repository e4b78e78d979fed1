#include "image/unpack/disk_space.h"

#include <sys/statvfs.h>

#include <cerrno>

namespace berth::image {
namespace {

constexpr uint64_t kInterval = 32 << 20;

}  // namespace

absl::Status DiskSpace::Claim(uint64_t bytes) {
  if (until_check_ > bytes) {
    until_check_ -= bytes;
    return absl::OkStatus();
  }
  until_check_ = kInterval;
  struct statvfs fs;
  if (fstatvfs(fd_, &fs) != 0) return ErrnoError(errno, "statvfs");
  uint64_t free_bytes = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
  if (free_bytes < limits_.min_free_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("only ", free_bytes >> 20, " MiB are left on the file system"));
  }
  // File systems that make inodes as needed report none at all.
  if (fs.f_files != 0 && fs.f_favail < limits_.min_free_inodes) {
    return absl::ResourceExhaustedError(absl::StrCat("only ", fs.f_favail, " inodes are left on the file system"));
  }
  return absl::OkStatus();
}

}  // namespace berth::image
