#include "runtime/container/step_timer.h"

#include <gtest/gtest.h>

#include <cstring>

namespace berth {
namespace {

TEST(StepTimer, StepsFollowEachOther) {
  StepTimer timer;
  EXPECT_STREQ(timer.current(), "");
  timer.End();
  EXPECT_EQ(timer.size(), 0u);
  timer.Begin("one");
  EXPECT_STREQ(timer.current(), "one");
  const uint64_t from = StepTimer::Now();
  while (StepTimer::Now() - from < 1000000) {
  }
  timer.Begin("two");
  timer.End();
  ASSERT_EQ(timer.size(), 2u);
  EXPECT_GE(timer[0].nanoseconds, 1000000u);
  const uint64_t ended = timer[1].nanoseconds;
  timer.End();
  EXPECT_EQ(timer[1].nanoseconds, ended);
  EXPECT_STREQ(timer.current(), "two");
}

TEST(StepTimer, MoreStepsThanFitAreCountedInTheLast) {
  StepTimer timer;
  for (size_t i = 0; i < StepTimer::kMaxSteps + 5; ++i) timer.Begin(i < StepTimer::kMaxSteps ? "fits" : "late");
  timer.End();
  EXPECT_EQ(timer.size(), StepTimer::kMaxSteps);
  EXPECT_STREQ(timer.current(), "fits");
}

}  // namespace
}  // namespace berth
