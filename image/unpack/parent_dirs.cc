#include "image/unpack/parent_dirs.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <deque>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel's walk

// As sys::OpenInRoot, but not into anything mounted beneath: there is nothing to be mounted in a layer.
absl::StatusOr<sys::UniqueFd> OpenDirInLayer(int root, absl::string_view path) {
  struct open_how how = {};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  std::string name(path.empty() ? "." : path);
  for (;;) {
    long fd = syscall(SYS_openat2, root, name.c_str(), &how, sizeof how);
    if (fd >= 0) return sys::UniqueFd(static_cast<int>(fd));
    if (errno != EINTR && errno != EAGAIN) return ErrnoError(errno, absl::StrCat("openat2 '", name, "'"));
  }
}

absl::StatusOr<std::string> ReadLink(int link, absl::string_view name) {
  char target[PATH_MAX];
  ssize_t n = readlinkat(link, "", target, sizeof target);
  if (n < 0) return ErrnoError(errno, absl::StrCat("readlink '", name, "'"));
  return std::string(target, static_cast<size_t>(n));
}

}  // namespace

absl::Status MakeOpaque(int parent, const std::string& name) {
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::OpenAt(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (fsetxattr(dir.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) {
    return ErrnoError(errno, absl::StrCat("mark '", name, "' opaque"));
  }
  return absl::OkStatus();
}

std::vector<std::string> ParentDirs::Implied() const {
  std::vector<std::string> paths;
  for (const auto& [inode, path] : implied_) {
    // One that was replaced is not there any more, and what is there speaks for itself.
    auto dir = Find(path);
    struct stat st;
    if (dir.ok() && fstat(dir->get(), &st) == 0 && st.st_ino == inode) paths.push_back(path);
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::StatusOr<sys::UniqueFd> ParentDirs::Find(absl::string_view path) const { return OpenDirInLayer(root_, path); }

absl::StatusOr<ParentDir> ParentDirs::Open(absl::string_view path, const struct timespec& mtime) {
  if (cached_ && path == cached_path_) return cached_dir_;
  Forget();
  auto fd = OpenDirInLayer(root_, path);
  if (!fd.ok()) {
    int err = ErrnoOf(fd.status());
    if (err == ELOOP) return absl::InvalidArgumentError(fd.status().message());
    if (err != ENOENT && err != ENOTDIR) return fd.status();
    fd = Walk(path, mtime);
    RETURN_IF_ERROR(fd);
  }
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd->get(), path));
  cached_fd_ = *std::move(fd);
  cached_path_ = std::string(path);
  cached_dir_ = {cached_fd_.get(), (st.st_mode & S_ISGID) != 0};
  cached_ = true;
  return cached_dir_;
}

// Component by component, so that what is missing can be made where a symlink of the layer points to, and so that the
// real name of what is made is known. Each step is O_NOFOLLOW below a descriptor; ".." only pops the stack.
absl::StatusOr<sys::UniqueFd> ParentDirs::Walk(absl::string_view path, const struct timespec& mtime) {
  std::deque<std::string> todo = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::vector<sys::UniqueFd> stack;
  std::vector<std::string> names;
  ASSIGN_OR_RETURN(sys::UniqueFd top, sys::OpenAt(root_, ".", O_PATH | O_DIRECTORY));
  stack.push_back(std::move(top));
  int links = 0;
  while (!todo.empty()) {
    std::string part = std::move(todo.front());
    todo.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      if (!names.empty()) {
        names.pop_back();
        stack.pop_back();
      }
      continue;
    }
    names.push_back(part);
    std::string here = absl::StrJoin(names, "/");
    ASSIGN_OR_RETURN(sys::UniqueFd next, Descend(stack.back().get(), part, here, mtime));
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(next.get(), here));
    if (S_ISDIR(st.st_mode)) {
      stack.push_back(std::move(next));
      continue;
    }
    if (!S_ISLNK(st.st_mode) || ++links > kMaxLinks) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", absl::CEscape(here), "' on the way to '", absl::CEscape(path), "' is not a directory"));
    }
    ASSIGN_OR_RETURN(std::string target, ReadLink(next.get(), here));
    names.pop_back();
    if (absl::StartsWith(target, "/")) {
      names.clear();
      stack.resize(1);
    }
    std::vector<std::string> parts = absl::StrSplit(target, '/', absl::SkipEmpty());
    todo.insert(todo.begin(), parts.begin(), parts.end());
    if (todo.size() > PATH_MAX) return absl::InvalidArgumentError("symlinks expand without end");
  }
  return std::move(stack.back());
}

absl::StatusOr<sys::UniqueFd> ParentDirs::Descend(int parent, const std::string& name, const std::string& path,
                                                  const struct timespec& mtime) {
  auto next = sys::OpenAt(parent, name, O_PATH | O_NOFOLLOW);
  if (!next.ok()) {
    if (ErrnoOf(next.status()) != ENOENT) return next.status();
    ASSIGN_OR_RETURN(sys::UniqueFd made, Make(parent, name, path, mtime));
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(made.get(), path));
    implied_[st.st_ino] = path;
    return made;
  }
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(next->get(), path));
  if (!IsWhiteout(st)) return next;
  // Whited out first and used as a directory then: a new directory, without what lower layers have. Its attributes
  // come from here too, so it does not count as implied.
  if (unlinkat(parent, name.c_str(), 0) != 0) return ErrnoError(errno, absl::StrCat("unlink '", path, "'"));
  ASSIGN_OR_RETURN(sys::UniqueFd made, Make(parent, name, path, mtime));
  RETURN_IF_ERROR(MakeOpaque(parent, name));
  return made;
}

absl::StatusOr<sys::UniqueFd> ParentDirs::Make(int parent, const std::string& name, const std::string& path,
                                               const struct timespec& mtime) {
  if (mkdirat(parent, name.c_str(), 0755) != 0) return ErrnoError(errno, absl::StrCat("mkdir '", path, "'"));
  // Neither the umask nor a parent's set-group-id bit has a say.
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::OpenAt(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (fchown(dir.get(), 0, 0) != 0) return ErrnoError(errno, absl::StrCat("chown '", path, "'"));
  if (fchmod(dir.get(), 0755) != 0) return ErrnoError(errno, absl::StrCat("chmod '", path, "'"));
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(dir.get(), path));
  made_.push_back({path, mtime, st.st_ino});
  return sys::OpenAt(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
}

}  // namespace berth::image
