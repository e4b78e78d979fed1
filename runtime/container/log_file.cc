#include "runtime/container/log_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/sys/file.h"

namespace berth::container {
namespace {

absl::StatusOr<sys::UniqueFd> OpenLog(int dir, const std::string& name, int flags) {
  // O_NONBLOCK: should a FIFO stand there, opening it must not wait for a reader.
  ASSIGN_OR_RETURN(sys::UniqueFd file,
                   sys::OpenBeneath(dir, name, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY | O_NONBLOCK | flags, 0640),
                   "log");
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(file.get(), name));
  if (!S_ISREG(st.st_mode)) return absl::InvalidArgumentError(absl::StrCat("log '", name, "' is not a regular file"));
  return file;
}

}  // namespace

absl::StatusOr<LogFile> LogFile::Open(sys::UniqueFd dir, absl::string_view name, bool append) {
  LogFile log;
  log.dir_ = std::move(dir);
  log.name_ = std::string(name);
  ASSIGN_OR_RETURN(log.file_, OpenLog(log.dir_.get(), log.name_, append ? 0 : O_TRUNC));
  return log;
}

void LogFile::Write(absl::string_view lines) {
  if (!file_) return;
  if (torn_) {
    // Ends the line that was cut, so that only it is unreadable.
    if (write(file_.get(), "\n", 1) != 1) {
      dropped_ += lines.size();
      return;
    }
    torn_ = false;
  }
  while (!lines.empty()) {
    ssize_t n = write(file_.get(), lines.data(), lines.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      dropped_ += lines.size();
      return;
    }
    torn_ = lines[static_cast<size_t>(n) - 1] != '\n';
    lines.remove_prefix(static_cast<size_t>(n));
  }
}

absl::Status LogFile::Reopen() {
  if (!dir_) return absl::OkStatus();
  ASSIGN_OR_RETURN(sys::UniqueFd file, OpenLog(dir_.get(), name_, 0));
  file_ = std::move(file);
  torn_ = false;
  return absl::OkStatus();
}

}  // namespace berth::container
