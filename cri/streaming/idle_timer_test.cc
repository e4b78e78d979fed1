#include "cri/streaming/idle_timer.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <optional>
#include <thread>

namespace berth::streaming {
namespace {

TEST(IdleTimer, RunsOnce) {
  boost::asio::io_context io;
  int runs = 0;
  IdleTimer timer(io, absl::Milliseconds(1), [&] { ++runs; });
  timer.Shorten(absl::Milliseconds(1));
  io.run();
  EXPECT_EQ(runs, 1);
}

TEST(IdleTimer, MayBeDestroyedByWhatItRuns) {
  boost::asio::io_context io;
  std::optional<IdleTimer> timer;
  timer.emplace(io, absl::Milliseconds(1), [&] { timer.reset(); });
  io.run();
  EXPECT_FALSE(timer.has_value());
}

// Both waits have ended when the first of their handlers runs.
TEST(IdleTimer, IsSilentWhenItIsDestroyedAfterItsTimeHasCome) {
  boost::asio::io_context io;
  bool ran = false;
  boost::asio::steady_timer other(io, std::chrono::steady_clock::now());
  auto timer = std::make_unique<IdleTimer>(io, absl::Milliseconds(1), [&] { ran = true; });
  other.async_wait([&](const boost::system::error_code&) { timer.reset(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  io.run();
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace berth::streaming
