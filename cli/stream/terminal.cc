#include "cli/stream/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace berth::cli::stream {

std::optional<WindowSize> SizeOf(int fd) {
  struct winsize size = {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return std::nullopt;
  return WindowSize{size.ws_col, size.ws_row};
}

absl::StatusOr<std::unique_ptr<RawMode>> RawMode::For(int fd) {
  termios before;
  if (tcgetattr(fd, &before) != 0) return absl::FailedPreconditionError("not a terminal");
  return std::unique_ptr<RawMode>(new RawMode(fd, before));
}

void RawMode::Enter() {
  absl::MutexLock lock(&mu_);
  // A job in the background would take the terminal from the shell. One that is not ours at all has no such jobs.
  pid_t foreground = tcgetpgrp(fd_);
  if (left_ || (foreground >= 0 && foreground != getpgrp())) return;
  termios raw = before_;
  cfmakeraw(&raw);
  raw_ = tcsetattr(fd_, TCSANOW, &raw) == 0;
}

void RawMode::Suspend() {
  absl::MutexLock lock(&mu_);
  Restore();
}

void RawMode::Leave() {
  absl::MutexLock lock(&mu_);
  left_ = true;
  Restore();
}

void RawMode::Restore() {
  if (raw_) tcsetattr(fd_, TCSANOW, &before_);
  raw_ = false;
}

}  // namespace berth::cli::stream
