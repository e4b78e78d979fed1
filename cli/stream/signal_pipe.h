// Signals as bytes that poll(2) sees, from the thread that waits for them to the one that turns the loop.
#pragma once

#include <memory>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli::stream {

class SignalPipe {
 public:
  static absl::StatusOr<std::shared_ptr<SignalPipe>> Create();

  // From any thread; does not block. When very many wait already, one more is dropped.
  void Push(int signal);
  // The next one, 0 for none.
  int Next();
  int fd() const { return read_.get(); }

 private:
  SignalPipe(sys::UniqueFd read, sys::UniqueFd write) : read_(std::move(read)), write_(std::move(write)) {}
  sys::UniqueFd read_, write_;
};

}  // namespace berth::cli::stream
