#include "image/unpack/tree_usage.h"

#include <sys/stat.h>

#include <cerrno>
#include <set>
#include <string>
#include <utility>

#include "runtime/sys/file.h"

namespace berth::image {
namespace {

class Walk {
 public:
  explicit Walk(dev_t device) : device_(device) {}

  void Count(const struct stat& st) {
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !seen_.insert(st.st_ino).second) return;
    uint64_t bytes = static_cast<uint64_t>(st.st_blocks) * 512;
    usage_.bytes += bytes;
    if (S_ISDIR(st.st_mode)) usage_.directory_bytes += bytes;
    ++usage_.inodes;
  }

  absl::Status Directory(int dir) {
    ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir));
    for (const std::string& name : names) {
      struct stat st;
      if (fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) {
        if (errno == ENOENT) continue;
        return ErrnoError(errno, absl::StrCat("stat '", name, "'"));
      }
      if (st.st_dev != device_) continue;
      Count(st);
      if (!S_ISDIR(st.st_mode)) continue;
      auto sub = sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (!sub.ok() && (ErrnoOf(sub.status()) == ENOENT || ErrnoOf(sub.status()) == ENOTDIR)) continue;
      RETURN_IF_ERROR(sub);
      RETURN_IF_ERROR(Directory(sub->get()), name);
    }
    return absl::OkStatus();
  }

  const TreeUsage& usage() const { return usage_; }

 private:
  const dev_t device_;
  std::set<ino_t> seen_;
  TreeUsage usage_;
};

}  // namespace

absl::StatusOr<TreeUsage> MeasureTree(int dir) {
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(dir, "directory"));
  Walk walk(st.st_dev);
  walk.Count(st);
  RETURN_IF_ERROR(walk.Directory(dir));
  return walk.usage();
}

}  // namespace berth::image
