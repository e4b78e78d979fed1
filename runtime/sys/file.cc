#include "runtime/sys/file.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "runtime/base/id.h"

namespace berth::sys {
namespace {

absl::StatusOr<UniqueFd> OpenAt2(int dir, absl::string_view path, int flags, mode_t mode, uint64_t resolve) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.mode = flags & (O_CREAT | O_TMPFILE) ? mode : 0;
  how.resolve = resolve;
  std::string name(path.empty() ? "." : path);
  for (;;) {
    long fd = syscall(SYS_openat2, dir, name.c_str(), &how, sizeof how);
    if (fd >= 0) return UniqueFd(static_cast<int>(fd));
    // EAGAIN: a rename or mount raced with a ".." in the walk; the kernel asks the caller to try again.
    if (errno != EINTR && errno != EAGAIN) return ErrnoError(errno, absl::StrCat("openat2 '", name, "'"));
  }
}

// How many descriptors a removal may hold. A container can nest directories deeper than a process may have files open:
// what lies deeper is moved up beneath `top` first.
constexpr int kMaxDepth = 64;

// Removes what is in `dir`; sets `hoisted` when something was moved up and another round over `top` is due.
absl::Status RemoveEntries(int top, int dir, int depth, const std::atomic<bool>* stop, bool& hoisted) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, ListDir(dir));
  for (const std::string& name : names) {
    if (stop && *stop) return absl::CancelledError("stopped");
    if (unlinkat(dir, name.c_str(), 0) == 0 || errno == ENOENT) continue;
    if (errno != EISDIR && errno != EPERM) return ErrnoError(errno, absl::StrCat("unlink '", name, "'"));
    if (unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0) continue;
    if (depth >= kMaxDepth) {
      if (renameat(dir, name.c_str(), top, absl::StrCat(".deep-", RandomHexId()).c_str()) != 0) {
        return ErrnoError(errno, absl::StrCat("rename '", name, "'"));
      }
      hoisted = true;
      continue;
    }
    {
      // The caller names the top of the tree as it likes; below it, nothing that is mounted there is entered.
      ASSIGN_OR_RETURN(UniqueFd sub, OpenAt2(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_NO_XDEV));
      RETURN_IF_ERROR(RemoveEntries(top, sub.get(), depth + 1, stop, hoisted), name);
    }
    if (unlinkat(dir, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
      return ErrnoError(errno, absl::StrCat("rmdir '", name, "'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<UniqueFd> OpenAt(int dir, absl::string_view path, int flags, mode_t mode) {
  std::string name(path);
  for (;;) {
    int fd = openat(dir, name.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0) return UniqueFd(fd);
    if (errno != EINTR) return ErrnoError(errno, absl::StrCat("open '", name, "'"));
  }
}

absl::StatusOr<UniqueFd> OpenInRoot(int root, absl::string_view path, int flags, mode_t mode) {
  return OpenAt2(root, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

absl::StatusOr<UniqueFd> OpenBeneath(int dir, absl::string_view path, int flags, mode_t mode) {
  return OpenAt2(dir, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

absl::StatusOr<UniqueFd> OpenOnMount(int dir, absl::string_view path, int flags) {
  return OpenAt2(dir, path, flags, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}

absl::StatusOr<UniqueFd> MakeDirsInRoot(int root, absl::string_view path, mode_t mode) {
  if (auto whole = OpenInRoot(root, path, O_PATH | O_DIRECTORY); whole.ok() || ErrnoOf(whole.status()) != ENOENT) {
    return whole;
  }
  // The prefix is opened anew from the root each time, so that a symlink or ".." in the middle means the same as
  // in one walk.
  std::string prefix;
  ASSIGN_OR_RETURN(UniqueFd parent, OpenInRoot(root, "/", O_PATH | O_DIRECTORY));
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    absl::StrAppend(&prefix, "/", part);
    auto next = OpenInRoot(root, prefix, O_PATH | O_DIRECTORY);
    if (!next.ok() && ErrnoOf(next.status()) == ENOENT) {
      if (mkdirat(parent.get(), std::string(part).c_str(), mode) != 0 && errno != EEXIST) {
        return ErrnoError(errno, absl::StrCat("mkdir '", prefix, "'"));
      }
      next = OpenInRoot(root, prefix, O_PATH | O_DIRECTORY);
    }
    RETURN_IF_ERROR(next);
    parent = *std::move(next);
  }
  return parent;
}

absl::Status MakeDirs(absl::string_view path, mode_t mode) {
  std::string prefix = absl::StartsWith(path, "/") ? "" : ".";
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    absl::StrAppend(&prefix, "/", part);
    if (mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST) {
      return ErrnoError(errno, absl::StrCat("mkdir '", prefix, "'"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFd(int fd, size_t limit, absl::string_view name) {
  std::string out;
  char buf[16384];
  for (;;) {
    ssize_t n = read(fd, buf, sizeof buf);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("read '", name, "'"));
    if (n == 0) return out;
    if (out.size() + static_cast<size_t>(n) > limit) {
      return absl::ResourceExhaustedError(absl::StrCat("'", name, "' is larger than ", limit, " bytes"));
    }
    out.append(buf, static_cast<size_t>(n));
  }
}

absl::StatusOr<std::string> ReadFileAt(int dir, absl::string_view path, size_t limit) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dir, path, O_RDONLY | O_NONBLOCK));
  ASSIGN_OR_RETURN(struct stat st, StatFd(fd.get(), path));
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat("'", path, "' is not a regular file"));
  return ReadFd(fd.get(), limit, path);
}

absl::Status WriteAll(int fd, absl::string_view data, absl::string_view name) {
  while (!data.empty()) {
    ssize_t n = write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("write '", name, "'"));
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status WriteFileAt(int dir, absl::string_view path, absl::string_view data) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dir, path, O_WRONLY));
  return WriteAll(fd.get(), data, path);
}

absl::Status ReplaceFileAt(int dir, absl::string_view name, absl::string_view data, mode_t mode) {
  std::string tmp = absl::StrCat(".", name, ".new");
  std::string target(name);
  auto replace = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dir, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
    RETURN_IF_ERROR(WriteAll(fd.get(), data, tmp));
    if (renameat(dir, tmp.c_str(), dir, target.c_str()) != 0) {
      return ErrnoError(errno, absl::StrCat("rename '", tmp, "' to '", target, "'"));
    }
    return absl::OkStatus();
  };
  absl::Status status = replace();
  if (!status.ok()) unlinkat(dir, tmp.c_str(), 0);  // on a full disk its beginning is there
  return status;
}

absl::StatusOr<std::vector<std::string>> ListDir(int dir) {
  ASSIGN_OR_RETURN(UniqueFd own, OpenAt(dir, ".", O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(own.get()), closedir);
  if (!stream) return ErrnoError(errno, "fdopendir");
  own.Release();
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = readdir(stream.get())) {
    absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return ErrnoError(errno, "readdir");
  return names;
}

absl::Status RemoveTreeAt(int dir, absl::string_view name, const std::atomic<bool>* stop) {
  std::string path(name);
  if (unlinkat(dir, path.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR && errno != EPERM) return ErrnoError(errno, absl::StrCat("unlink '", path, "'"));
  {
    ASSIGN_OR_RETURN(UniqueFd top, OpenAt(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    bool hoisted = true;
    while (hoisted) {
      hoisted = false;
      RETURN_IF_ERROR(RemoveEntries(top.get(), top.get(), 0, stop, hoisted), path);
    }
  }
  if (unlinkat(dir, path.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return ErrnoError(errno, absl::StrCat("rmdir '", path, "'"));
  }
  return absl::OkStatus();
}

absl::StatusOr<struct stat> StatFd(int fd, absl::string_view name) {
  struct stat st;
  if (fstat(fd, &st) != 0) return ErrnoError(errno, absl::StrCat("fstat '", name, "'"));
  return st;
}

}  // namespace berth::sys
