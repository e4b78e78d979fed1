// How long a connection whose last byte is written waits for its client to take what the kernel still holds.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace berth::streaming {

// A client may be slow, or page through what it got; all that it costs is a socket. To close at once would lose that,
// though the kernel goes on sending: the next thing that the client says (a ping) would be answered with a reset.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::minutes kMost{60};  // without progress

  // Whether to wait on, asked now and then. `unsent`: bytes that the client's machine has not taken.
  bool Waits(size_t unsent, Clock::time_point now = Clock::now()) {
    if (unsent == 0) return false;
    if (std::exchange(least_, std::min(unsent, least_)) > unsent) progress_ = now;
    return now - progress_ < kMost;
  }

 private:
  size_t least_ = SIZE_MAX;
  Clock::time_point progress_;
};

}  // namespace berth::streaming
