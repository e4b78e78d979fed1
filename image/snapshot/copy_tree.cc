#include "image/snapshot/copy_tree.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "image/snapshot/copy_attributes.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr int kMaxDepth = 256;

absl::Status CopyRange(int from, int to, off_t begin, off_t end) {
  if (lseek(to, begin, SEEK_SET) < 0) return ErrnoError(errno, "seek");
  while (begin < end) {
    ssize_t n = sendfile(to, from, &begin, static_cast<size_t>(end - begin));
    if (n < 0) return ErrnoError(errno, "copy");
    if (n == 0) break;  // truncated meanwhile
  }
  return absl::OkStatus();
}

// Only what is data: holes stay holes.
absl::Status CopyContent(int from, int to, off_t size) {
  off_t at = 0;
  while ((at = lseek(from, at, SEEK_DATA)) >= 0) {
    off_t hole = lseek(from, at, SEEK_HOLE);
    if (hole < 0) return ErrnoError(errno, "seek");
    RETURN_IF_ERROR(CopyRange(from, to, at, hole));
    at = hole;
  }
  if (errno != ENXIO) return ErrnoError(errno, "seek");
  if (ftruncate(to, size) != 0) return ErrnoError(errno, "truncate");
  return absl::OkStatus();
}

absl::Status SetOwnerAndTimes(int dir, const char* name, const struct stat& st) {
  if (fchownat(dir, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(errno, "chown");
  const struct timespec times[2] = {st.st_mtim, st.st_mtim};
  if (utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(errno, "set times");
  return absl::OkStatus();
}

class Copy {
 public:
  Copy(int to, dev_t device) : root_(to), device_(device) {}

  // `path` is that of the directories from the root, empty or ending in a slash.
  absl::Status Directory(int from, int to, const std::string& path, int depth) {
    if (depth > kMaxDepth) return absl::ResourceExhaustedError("the tree is too deep to be copied");
    ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(from));
    for (const std::string& name : names) {
      RETURN_IF_ERROR(Entry(from, to, path, name, depth), "'", name, "'");
    }
    // After its entries: they would change its times, and inherit its default ACL.
    return CopyAttributes(from, to);
  }

 private:
  absl::Status Entry(int from, int to, const std::string& path, const std::string& name, int depth) {
    struct stat st;
    if (fstatat(from, name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) != 0) return ErrnoError(errno, "stat");
    if (S_ISDIR(st.st_mode)) {
      if (st.st_dev != device_) return absl::OkStatus();
      if (mkdirat(to, name.c_str(), 0700) != 0) return ErrnoError(errno, "mkdir");
      ASSIGN_OR_RETURN(sys::UniqueFd sub, sys::OpenAt(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      ASSIGN_OR_RETURN(sys::UniqueFd sub_to, sys::OpenAt(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
      return Directory(sub.get(), sub_to.get(), absl::StrCat(path, name, "/"), depth + 1);
    }
    if (st.st_nlink > 1) {
      auto [first, is_new] = links_.try_emplace({st.st_dev, st.st_ino}, absl::StrCat(path, name));
      if (!is_new) {
        if (linkat(root_, first->second.c_str(), to, name.c_str(), 0) != 0) return ErrnoError(errno, "link");
        return absl::OkStatus();
      }
    }
    if (S_ISREG(st.st_mode)) return File(from, to, name, st.st_size);
    if (S_ISLNK(st.st_mode)) return Symlink(from, to, name, st);
    if (mknodat(to, name.c_str(), st.st_mode & S_IFMT, st.st_rdev) != 0) return ErrnoError(errno, "mknod");
    RETURN_IF_ERROR(SetOwnerAndTimes(to, name.c_str(), st));
    if (fchmodat(to, name.c_str(), st.st_mode & 07777, 0) != 0) return ErrnoError(errno, "chmod");
    return absl::OkStatus();
  }

  static absl::Status File(int from, int to, const std::string& name, off_t size) {
    // O_NONBLOCK: whatever is there by now, opening it does not wait.
    ASSIGN_OR_RETURN(sys::UniqueFd source, sys::OpenAt(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    ASSIGN_OR_RETURN(sys::UniqueFd target, sys::OpenAt(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    RETURN_IF_ERROR(CopyContent(source.get(), target.get(), size));
    return CopyAttributes(source.get(), target.get());
  }

  static absl::Status Symlink(int from, int to, const std::string& name, const struct stat& st) {
    char target[PATH_MAX];
    ssize_t n = readlinkat(from, name.c_str(), target, sizeof target);
    if (n < 0) return ErrnoError(errno, "readlink");
    if (symlinkat(std::string(target, static_cast<size_t>(n)).c_str(), to, name.c_str()) != 0) {
      return ErrnoError(errno, "symlink");
    }
    return SetOwnerAndTimes(to, name.c_str(), st);
  }

  const int root_;
  const dev_t device_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  // the first name of each file that has several
};

}  // namespace

absl::Status CopyTree(int from, int to) {
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(from, "directory"));
  return Copy(to, st.st_dev).Directory(from, to, "", 0);
}

}  // namespace berth::image
