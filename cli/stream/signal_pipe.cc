#include "cli/stream/signal_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace berth::cli::stream {

absl::StatusOr<std::shared_ptr<SignalPipe>> SignalPipe::Create() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return ErrnoError(errno, "pipe2");
  return std::shared_ptr<SignalPipe>(new SignalPipe(sys::UniqueFd(ends[0]), sys::UniqueFd(ends[1])));
}

void SignalPipe::Push(int signal) {
  auto byte = static_cast<unsigned char>(signal);
  while (write(write_.get(), &byte, 1) < 0 && errno == EINTR) {
  }
}

int SignalPipe::Next() {
  unsigned char byte = 0;
  ssize_t n;
  while ((n = read(read_.get(), &byte, 1)) < 0 && errno == EINTR) {
  }
  return n == 1 ? byte : 0;
}

}  // namespace berth::cli::stream
