#include "runtime/sys/procfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::sys {
namespace {

absl::Status VerifyProcfs(int fd, absl::string_view name) {
  struct statfs fs;
  if (fstatfs(fd, &fs) != 0) return ErrnoError(errno, absl::StrCat("fstatfs '", name, "'"));
  if (fs.f_type != PROC_SUPER_MAGIC) return absl::InvalidArgumentError(absl::StrCat("'", name, "' is not procfs"));
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> OpenProc(int procfs, absl::string_view path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  UniqueFd fd(static_cast<int>(syscall(SYS_openat2, procfs, std::string(path).c_str(), &how, sizeof how)));
  if (!fd) return ErrnoError(errno, absl::StrCat("open '/proc/", path, "'"));
  RETURN_IF_ERROR(VerifyProcfs(fd.get(), path));
  return fd;
}

}  // namespace

absl::StatusOr<UniqueFd> OpenDetachedProcfs() {
  ASSIGN_OR_RETURN(UniqueFd fd, MountDetached("proc", {}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  RETURN_IF_ERROR(VerifyProcfs(fd.get(), "a new procfs"));
  return fd;
}

absl::Status WriteProc(int procfs, absl::string_view path, absl::string_view value) {
  ASSIGN_OR_RETURN(UniqueFd fd, OpenProc(procfs, path, O_WRONLY));
  return WriteAll(fd.get(), value, absl::StrCat("/proc/", path));
}

absl::StatusOr<pid_t> SelfIn(int procfs) {
  char text[16];
  ssize_t n = readlinkat(procfs, "self", text, sizeof text);
  if (n < 0) return ErrnoError(errno, "readlink '/proc/self'");
  int pid = 0;
  if (!absl::SimpleAtoi(absl::string_view(text, static_cast<size_t>(n)), &pid)) {
    return absl::InternalError("/proc/self is not a number");
  }
  return pid;
}

absl::Status SetOomScoreAdj(int procfs, int value) {
  ASSIGN_OR_RETURN(pid_t self, SelfIn(procfs));
  return WriteProc(procfs, absl::StrCat(self, "/oom_score_adj"), absl::StrCat(value));
}

std::vector<pid_t> ChildrenOf(int procfs, pid_t pid) {
  std::vector<pid_t> children;
  auto tasks = OpenProc(procfs, absl::StrCat(pid, "/task"), O_RDONLY | O_DIRECTORY);
  if (!tasks.ok()) return children;
  auto threads = ListDir(tasks->get());
  if (!threads.ok()) return children;
  for (const std::string& thread : *threads) {
    auto file = OpenProc(tasks->get(), absl::StrCat(thread, "/children"), O_RDONLY);
    if (!file.ok()) continue;
    auto text = ReadFd(file->get(), 1 << 20, "children");
    if (!text.ok()) continue;
    for (absl::string_view word : absl::StrSplit(*text, ' ', absl::SkipWhitespace())) {
      int child = 0;
      if (absl::SimpleAtoi(word, &child)) children.push_back(child);
    }
  }
  return children;
}

bool ReadStat(int procfs, pid_t pid, ProcessStat* out) {
  auto file = OpenProc(procfs, absl::StrCat(pid, "/stat"), O_RDONLY);
  if (!file.ok()) return false;
  auto text = ReadFd(file->get(), 4096, "stat");
  if (!text.ok()) return false;
  // "PID (COMM) S PPID PGRP ...": the command may hold anything, also ")".
  const size_t end = text->rfind(") ");
  if (end == std::string::npos) return false;
  std::vector<absl::string_view> fields = absl::StrSplit(absl::string_view(*text).substr(end + 2), ' ');
  if (fields.size() < 3 || fields[0].empty()) return false;
  out->state = fields[0][0];
  return absl::SimpleAtoi(fields[1], &out->parent) && absl::SimpleAtoi(fields[2], &out->group);
}

}  // namespace berth::sys
