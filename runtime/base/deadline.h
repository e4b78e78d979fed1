// Points in time for waits. By the monotonic clock (CLOCK_MONOTONIC): a wait lasts as long as it was meant to, whoever
// sets the machine's clock meanwhile. absl's own waits (Mutex::AwaitWithTimeout, CondVar::WaitWithTimeout) go by the
// real-time clock in the absl of 2022: set back by an hour, they last an hour longer.
#pragma once

#include <algorithm>
#include <chrono>

#include "absl/time/time.h"

namespace berth {

class Deadline {
 public:
  // One that never comes.
  Deadline() = default;
  static Deadline In(absl::Duration duration) {
    Deadline deadline;
    if (duration < kForever) deadline.at_ = Clock::now() + absl::ToChronoNanoseconds(duration);
    return deadline;
  }
  static Deadline Earlier(const Deadline& a, const Deadline& b) { return a.at_ < b.at_ ? a : b; }

  // Not below zero.
  absl::Duration Left() const {
    if (at_ == Clock::time_point::max()) return absl::InfiniteDuration();
    return std::max(absl::FromChrono(at_ - Clock::now()), absl::ZeroDuration());
  }
  bool Passed() const { return Left() <= absl::ZeroDuration(); }
  // For poll(2): rounded up, and never more than an hour.
  int Milliseconds() const {
    if (Passed()) return 0;
    return static_cast<int>(absl::ToInt64Milliseconds(std::min(Left(), absl::Hours(1))) + 1);
  }
  std::chrono::steady_clock::time_point at() const { return at_; }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr absl::Duration kForever = absl::Hours(24 * 365);
  Clock::time_point at_ = Clock::time_point::max();
};

}  // namespace berth
