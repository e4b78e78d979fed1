#include "runtime/sys/file_lock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/time/clock.h"
#include "runtime/sys/file.h"

namespace berth::sys {
namespace {

struct flock WholeFile() {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

pid_t WriterOf(int fd, absl::string_view path) {
  int pid = 0;
  auto text = ReadFd(fd, 64, path);
  return text.ok() && absl::SimpleAtoi(*text, &pid) ? pid : 0;
}

}  // namespace

absl::StatusOr<FileLock> FileLock::Take(absl::string_view path, absl::Duration patience) {
  ASSIGN_OR_RETURN(UniqueFd fd, Open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock lock = WholeFile();
  constexpr absl::Duration kPause = absl::Milliseconds(20);
  int rc;
  while ((rc = fcntl(fd.get(), F_OFD_SETLK, &lock)) != 0 && errno == EAGAIN && patience > absl::ZeroDuration()) {
    absl::SleepFor(kPause);
    patience -= kPause;
  }
  if (rc != 0) {
    if (errno != EAGAIN && errno != EACCES) return ErrnoError(errno, absl::StrCat("lock '", path, "'"));
    return absl::FailedPreconditionError(
        absl::StrCat("'", path, "' is locked by ", DescribeProcess(WriterOf(fd.get(), path))));
  }
  if (ftruncate(fd.get(), 0) != 0) return ErrnoError(errno, absl::StrCat("truncate '", path, "'"));
  RETURN_IF_ERROR(WriteAll(fd.get(), absl::StrCat(getpid(), "\n"), path));
  return FileLock(std::move(fd));
}

absl::StatusOr<std::optional<pid_t>> HolderOfLock(absl::string_view path) {
  auto fd = Open(path, O_RDONLY | O_NOFOLLOW);
  if (ErrnoOf(fd.status()) == ENOENT) return std::nullopt;
  RETURN_IF_ERROR(fd);
  struct flock lock = WholeFile();
  if (fcntl(fd->get(), F_OFD_GETLK, &lock) != 0) return ErrnoError(errno, absl::StrCat("ask for lock '", path, "'"));
  if (lock.l_type == F_UNLCK) return std::nullopt;
  return WriterOf(fd->get(), path);
}

std::string DescribeProcess(pid_t pid) {
  if (pid == 0) return "another process";
  auto name = ReadFile(absl::StrCat("/proc/", pid, "/comm"));
  std::string out = absl::StrCat("process ", pid);
  if (name.ok()) absl::StrAppend(&out, " (", absl::StripAsciiWhitespace(*name), ")");
  return out;
}

}  // namespace berth::sys
