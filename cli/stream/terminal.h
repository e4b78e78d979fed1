// The terminal that a command is typed into: its size, and raw mode that ends whatever happens.
#pragma once

#include <termios.h>

#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"

namespace berth::cli::stream {

struct WindowSize {
  int columns = 0, rows = 0;
};
// Nothing if it is no terminal, or one that does not know.
std::optional<WindowSize> SizeOf(int fd);

// Raw mode, in which each key goes to the container, also Ctrl-C. Thread-safe.
class RawMode {
 public:
  // Not raw yet. FailedPrecondition if `fd` is no terminal. The descriptor is the caller's.
  static absl::StatusOr<std::unique_ptr<RawMode>> For(int fd);
  ~RawMode() { Leave(); }

  // Does nothing once Leave was called, or while another job has the terminal.
  void Enter();
  void Suspend();  // as it was, until Enter
  void Leave();    // as it was, for good

 private:
  RawMode(int fd, const termios& before) : fd_(fd), before_(before) {}
  void Restore() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const int fd_;
  const termios before_;
  absl::Mutex mu_;
  bool raw_ ABSL_GUARDED_BY(mu_) = false;
  bool left_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth::cli::stream
