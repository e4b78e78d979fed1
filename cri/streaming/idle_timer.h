// Runs something once nothing has happened for a while. On the io_context's thread.
#pragma once

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/time/time.h"

namespace berth::streaming {

class IdleTimer {
 public:
  // `expired` runs once, and may destroy the timer; it owns what it needs weakly. Not after the timer is gone.
  IdleTimer(boost::asio::io_context& io, absl::Duration limit, std::function<void()> expired)
      : state_(std::make_shared<State>(io, absl::ToChronoNanoseconds(limit), std::move(expired))) {
    Arm(state_);
  }
  // Something happened. Costs a look at the clock: the timer itself is set anew when it fires.
  void Touch() { state_->last = Clock::now(); }
  // From now on less patience.
  void Shorten(absl::Duration limit) {
    state_->limit = std::min(state_->limit, absl::ToChronoNanoseconds(limit));
    Touch();
    Arm(state_);
  }

 private:
  using Clock = std::chrono::steady_clock;

  // Not the timer's own: a wait that has ended cannot be cancelled, and its handler may run after the timer is gone.
  struct State {
    State(boost::asio::io_context& io, std::chrono::nanoseconds limit_in, std::function<void()> expired_in)
        : timer(io), limit(limit_in), expired(std::move(expired_in)), last(Clock::now()) {}
    boost::asio::steady_timer timer;
    std::chrono::nanoseconds limit;
    std::function<void()> expired;
    Clock::time_point last;
  };

  static void Arm(const std::shared_ptr<State>& state) {
    state->timer.expires_at(state->last + state->limit);
    state->timer.async_wait([weak = std::weak_ptr<State>(state)](const boost::system::error_code& error) {
      auto state = weak.lock();
      if (error || !state) return;
      if (Clock::now() < state->last + state->limit) return Arm(state);
      if (auto expired = std::exchange(state->expired, nullptr)) expired();
    });
  }

  const std::shared_ptr<State> state_;
};

}  // namespace berth::streaming
