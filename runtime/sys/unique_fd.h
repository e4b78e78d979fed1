// The one owner of a file descriptor. Every function of this tree that makes a descriptor makes it close-on-exec
// and returns it in a UniqueFd.
#pragma once

#include <unistd.h>

#include <utility>

namespace berth::sys {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1) {
    if (int old = std::exchange(fd_, fd); old >= 0) ::close(old);  // Linux frees the number even on EINTR
  }

 private:
  int fd_ = -1;
};

}  // namespace berth::sys
