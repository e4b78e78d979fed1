// epoll(7), level-triggered. A watch is named by a 64-bit key of the caller's, never by a pointer that may dangle.
#pragma once

#include <sys/epoll.h>

#include <cstdint>

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

class Epoll {
 public:
  static absl::StatusOr<Epoll> Create();
  absl::Status Add(int fd, uint32_t events, uint64_t key);
  absl::Status Change(int fd, uint32_t events, uint64_t key);
  // To be called before `fd` is closed when a copy of it may live on. No error when it is not watched.
  void Remove(int fd);
  // Events into `out` (data.u64 is the key); how many; 0 after `timeout_ms` (-1 = for ever) or on a signal.
  absl::StatusOr<size_t> Wait(absl::Span<epoll_event> out, int timeout_ms);
  int fd() const { return fd_.get(); }

 private:
  explicit Epoll(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace berth::sys
