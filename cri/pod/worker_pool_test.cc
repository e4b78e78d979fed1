#include "cri/pod/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/notification.h"
#include "cri/pod/call_limit.h"

namespace berth::pod {
namespace {

using testing::HasSubstr;

TEST(WorkerPoolTest, OneWithoutAQueueRunsAtOnceOrRefuses) {
  absl::Notification go;
  WorkerPool pool(2, 0, "stops");
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(pool.Post([&] { go.WaitForNotification(); }).ok());
  absl::Status third = pool.Post([] {});
  EXPECT_EQ(third.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(third.message()), HasSubstr("2 stops run and 0 wait"));
  go.Notify();
}

TEST(WorkerPoolTest, AThreadThatIsFreeTakesTheNext) {
  WorkerPool pool(1, 0);
  for (int i = 0; i < 100; ++i) {
    absl::Notification done;
    // The thread may be on its way back from the last one.
    while (!pool.Post([&] { done.Notify(); }).ok()) absl::SleepFor(absl::Microseconds(100));
    done.WaitForNotification();
  }
}

TEST(CallLimitTest, CountsEachIdForItself) {
  CallLimit limit(2);
  auto first = limit.Enter("a"), second = limit.Enter("a"), other = limit.Enter("b");
  ASSERT_TRUE(first.ok() && second.ok() && other.ok());
  auto third = limit.Enter("a");
  EXPECT_EQ(third.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(third.status().message()), HasSubstr("2 calls that stop or remove 'a'"));
  { CallLimit::Turn ends = *std::move(first); }
  EXPECT_TRUE(limit.Enter("a").ok());
}

}  // namespace
}  // namespace berth::pod
