#include "runtime/container/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "runtime/container/cri_log.h"
#include "runtime/sys/file.h"

namespace berth::container {
namespace {

constexpr size_t kMaxPreface = 256;

// A writer that was killed may have left a part of a line.
bool EndsWithinALine(int fd, off_t size) {
  char last = '\n';
  return size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n';
}

}  // namespace

absl::StatusOr<LogFile> LogFile::OpenNamed(sys::UniqueFd dir, std::string name, int flags) {
  // O_NONBLOCK and both directions: should a FIFO stand there, opening it must not wait for anybody.
  constexpr int kFlags = O_RDWR | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK;
  auto opened = sys::OpenBeneath(dir.get(), name, kFlags | flags, 0640);
  if (ErrnoOf(opened.status()) == ELOOP) {
    return absl::InvalidArgumentError(absl::StrCat("log '", name, "' is, or is behind, a symbolic link"));
  }
  RETURN_IF_ERROR(opened.status(), "log");
  sys::UniqueFd file = *std::move(opened);
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(file.get(), name));
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat("log '", name, "' is not a regular file"));
  LogFile log;
  log.torn_ = EndsWithinALine(file.get(), st.st_size);
  log.dir_ = std::move(dir);
  log.name_ = std::move(name);
  log.file_ = std::move(file);
  return log;
}

absl::StatusOr<LogFile> LogFile::Open(sys::UniqueFd dir, absl::string_view name, bool append) {
  return OpenNamed(std::move(dir), std::string(name), append ? 0 : O_TRUNC);
}

// What stands before the next lines: the end of one that was cut, so that only it is unreadable, and the line about
// what is missing here.
size_t LogFile::FormatPreface(int64_t unix_ns, char* out, size_t size) const {
  size_t used = 0;
  if (torn_) out[used++] = '\n';
  if (lost_ == 0) return used;
  char time[31] = {};
  FormatLogTime(unix_ns, time);
  const int length = snprintf(out + used, size - used, "%s stderr F berth: %" PRIu64 " bytes of output were lost: %s\n",
                              time, lost_, strerror(error_));
  return std::min(used + static_cast<size_t>(length), size - 1);
}

void LogFile::Write(absl::string_view lines, int64_t unix_ns) {
  if (!file_) return;
  char preface[kMaxPreface];
  const size_t before = FormatPreface(unix_ns, preface, sizeof preface);
  const size_t total = before + lines.size();
  size_t done = 0;
  while (done < total) {
    const size_t skip = std::min(done, before);
    const absl::string_view rest = lines.substr(done - skip);
    const iovec parts[] = {{preface + skip, before - skip}, {const_cast<char*>(rest.data()), rest.size()}};
    const ssize_t n = writev(file_.get(), parts, 2);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      error_ = n < 0 ? errno : ENOSPC;
      break;
    }
    done += static_cast<size_t>(n);
  }
  if (done > before) {
    torn_ = lines[done - before - 1] != '\n';
  } else if (done > 0) {
    torn_ = preface[done - 1] != '\n';
  }
  if (done >= before) lost_ = 0;
  if (done < total) lost_ += CriLogEncoder::OwnBytes(lines, done - std::min(done, before));
}

absl::Status LogFile::Reopen(sys::UniqueFd dir, int64_t unix_ns) {
  if (!file_) return absl::OkStatus();
  // The old file is whole before anybody takes it for complete.
  if (torn_ && write(file_.get(), "\n", 1) == 1) torn_ = false;
  if (!dir) {
    dir = sys::UniqueFd(fcntl(dir_.get(), F_DUPFD_CLOEXEC, 3));
    if (!dir) return ErrnoError(errno, "log directory");
  }
  ASSIGN_OR_RETURN(LogFile next, OpenNamed(std::move(dir), name_, 0));
  next.lost_ = lost_;
  next.error_ = error_;
  *this = std::move(next);
  Write({}, unix_ns);
  return absl::OkStatus();
}

}  // namespace berth::container
