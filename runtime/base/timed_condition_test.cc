#include "runtime/base/timed_condition.h"

#include <gtest/gtest.h>

#include <thread>

namespace berth {
namespace {

TEST(DeadlineTest, ComesOrNever) {
  EXPECT_FALSE(Deadline().Passed());
  EXPECT_EQ(Deadline().Left(), absl::InfiniteDuration());
  EXPECT_EQ(Deadline::In(absl::InfiniteDuration()).Left(), absl::InfiniteDuration());
  EXPECT_TRUE(Deadline::In(absl::ZeroDuration()).Passed());
  EXPECT_TRUE(Deadline::In(-absl::Hours(1)).Passed());
  EXPECT_EQ(Deadline::In(-absl::Hours(1)).Milliseconds(), 0);
  const Deadline later = Deadline::In(absl::Minutes(1)), sooner = Deadline::In(absl::Seconds(30));
  EXPECT_FALSE(sooner.Passed());
  EXPECT_LE(sooner.Milliseconds(), 30001);
  EXPECT_LE(Deadline::Earlier(later, sooner).Left(), absl::Seconds(30));
  EXPECT_LE(Deadline::Earlier(sooner, Deadline()).Left(), absl::Seconds(30));
  EXPECT_EQ(Deadline().Milliseconds(), 3600001);
}

TEST(TimedConditionTest, WhatIsTrueNeedsNoWaiting) {
  absl::Mutex mu;
  TimedCondition condition;
  absl::MutexLock lock(&mu);
  EXPECT_TRUE(condition.Await(
      mu, [] { return true; }, Deadline::In(absl::ZeroDuration())));
}

TEST(TimedConditionTest, GivesUpAtTheDeadline) {
  absl::Mutex mu;
  TimedCondition condition;
  absl::MutexLock lock(&mu);
  EXPECT_FALSE(condition.Await(
      mu, [] { return false; }, Deadline::In(absl::Milliseconds(5))));
}

TEST(TimedConditionTest, IsToldOfChanges) {
  for (const Deadline& deadline : {Deadline(), Deadline::In(absl::Minutes(5))}) {
    absl::Mutex mu;
    TimedCondition condition;
    int value = 0;
    std::thread other([&] {
      for (int i = 0; i < 3; ++i) {
        {
          absl::MutexLock lock(&mu);
          ++value;
        }
        condition.NotifyAll();
      }
    });
    {
      absl::MutexLock lock(&mu);
      EXPECT_TRUE(condition.Await(
          mu, [&] { return value == 3; }, deadline));
    }
    other.join();
  }
}

}  // namespace
}  // namespace berth
