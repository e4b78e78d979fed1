#include "cri/pod/name_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "cri/pod/worker_pool.h"

namespace berth::pod {
namespace {

Deadline Soon() { return Deadline::In(absl::Milliseconds(20)); }

TEST(NameTable, SecondUseIsAnErrorUntilReleased) {
  NameTable names;
  EXPECT_EQ(*names.Claim("web", Soon()), std::nullopt);
  names.Finish("web", "id1", true);
  EXPECT_EQ(names.Claim("web", Soon()).status().code(), absl::StatusCode::kAlreadyExists);
  names.Release("web");
  EXPECT_EQ(*names.Claim("web", Soon()), std::nullopt);
}

TEST(NameTable, IsReleasedForItsOwnerOnly) {
  NameTable names;
  ASSERT_TRUE(names.Claim("web", Soon()).ok());
  names.ReleaseOf("web", "");  // being made
  names.Finish("web", "id2", true);
  names.ReleaseOf("web", "id1");
  EXPECT_EQ(names.Claim("web", Soon()).status().code(), absl::StatusCode::kAlreadyExists);
  names.ReleaseOf("web", "id2");
  EXPECT_EQ(*names.Claim("web", Soon()), std::nullopt);
}

TEST(NameTable, RetryAfterALostAnswerGetsTheSameIdOnce) {
  NameTable names;
  ASSERT_TRUE(names.Claim("web", Soon()).ok());
  EXPECT_EQ(names.Claim("web", Soon()).status().code(), absl::StatusCode::kDeadlineExceeded);
  names.Finish("web", "id1", false);
  EXPECT_EQ(*names.Claim("web", Soon()), "id1");
  EXPECT_EQ(names.Claim("web", Soon()).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST(NameTable, RetryWaitsForTheFirstCall) {
  NameTable names;
  ASSERT_TRUE(names.Claim("web", Soon()).ok());
  std::thread first([&] {
    absl::SleepFor(absl::Milliseconds(30));
    names.Release("web");  // it failed
  });
  EXPECT_EQ(*names.Claim("web", Deadline()), std::nullopt);
  first.join();
}

TEST(WorkerPool, RunsAllAndRefusesPastItsBounds) {
  std::atomic<int> done{0};
  absl::Mutex gate;
  {
    WorkerPool pool(2, 1);
    gate.Lock();
    auto work = [&] {
      absl::MutexLock lock(&gate);
      ++done;
    };
    EXPECT_TRUE(pool.Post(work).ok());
    EXPECT_TRUE(pool.Post(work).ok());
    absl::Status third, fourth;
    // The two threads may need a moment to take their work off the queue.
    for (int i = 0; i < 1000 && !(third = pool.Post(work)).ok(); ++i) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_TRUE(third.ok());
    for (int i = 0; i < 1000 && (fourth = pool.Post(work)).ok(); ++i) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_EQ(fourth.code(), absl::StatusCode::kResourceExhausted);
    gate.Unlock();
  }
  EXPECT_GE(done.load(), 3);
}

}  // namespace
}  // namespace berth::pod
