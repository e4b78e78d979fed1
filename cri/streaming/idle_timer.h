// Runs something once nothing has happened for a while. On the io_context's thread.
#pragma once

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <utility>

#include "absl/time/time.h"

namespace berth::streaming {

class IdleTimer {
 public:
  // `expired` runs once; it owns what it needs weakly. Not after the timer is gone.
  IdleTimer(boost::asio::io_context& io, absl::Duration limit, std::function<void()> expired)
      : timer_(io), limit_(absl::ToChronoNanoseconds(limit)), expired_(std::move(expired)), last_(Clock::now()) {
    Arm();
  }
  // Something happened. Costs a look at the clock: the timer itself is set anew when it fires.
  void Touch() { last_ = Clock::now(); }
  // From now on less patience.
  void Shorten(absl::Duration limit) {
    limit_ = std::min(limit_, absl::ToChronoNanoseconds(limit));
    Touch();
    Arm();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void Arm() {
    timer_.expires_at(last_ + limit_);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;  // the timer may be gone
      if (Clock::now() < last_ + limit_) return Arm();
      expired_();
    });
  }

  boost::asio::steady_timer timer_;
  std::chrono::nanoseconds limit_;
  const std::function<void()> expired_;
  Clock::time_point last_;
};

}  // namespace berth::streaming
