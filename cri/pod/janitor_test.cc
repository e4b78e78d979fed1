#include "cri/pod/janitor.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"

namespace berth::pod {
namespace {

constexpr Janitor::Options kQuick{absl::Milliseconds(1), absl::Milliseconds(4), 2};

void AwaitNothingOwed(const Janitor& janitor) {
  while (!janitor.Owed().empty()) absl::SleepFor(absl::Milliseconds(1));
}

TEST(JanitorTest, TriesUntilItWorks) {
  Janitor janitor(kQuick);
  std::atomic<int> tries = 0;
  janitor.Owe("pod", [&] { return ++tries < 5 ? absl::UnavailableError("not yet") : absl::OkStatus(); });
  AwaitNothingOwed(janitor);
  EXPECT_EQ(tries, 5);
}

TEST(JanitorTest, OneThatHangsHoldsUpNoOther) {
  absl::Notification release;
  std::atomic<int> done = 0;
  Janitor janitor(kQuick);
  janitor.Owe("hangs", [&] {
    release.WaitForNotification();
    return absl::OkStatus();
  });
  for (int i = 0; i < 20; ++i) {
    janitor.Owe(absl::StrCat("quick", i), [&] {
      ++done;
      return absl::OkStatus();
    });
  }
  while (done < 20) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(janitor.Owed().count("hangs"), 1u);
  release.Notify();
  AwaitNothingOwed(janitor);
}

TEST(JanitorTest, TellsTheLastError) {
  Janitor janitor({absl::Hours(1), absl::Hours(1), 1});
  janitor.Owe("pod", [] { return absl::UnavailableError("the plugin hangs"); });
  while (janitor.Owed()["pod"].empty()) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_EQ(janitor.Owed()["pod"], "the plugin hangs");
}

TEST(JanitorTest, OwedAgainTheFirstStaysAndItsTurnComes) {
  Janitor janitor({absl::Hours(1), absl::Hours(1), 1});
  std::atomic<int> first = 0, second = 0;
  auto chore = [&] { return ++first < 2 ? absl::UnavailableError("no") : absl::OkStatus(); };
  janitor.Owe("pod", chore);
  while (janitor.Owed()["pod"].empty()) absl::SleepFor(absl::Milliseconds(1));
  janitor.Owe("pod", [&] {
    ++second;
    return absl::OkStatus();
  });
  AwaitNothingOwed(janitor);
  EXPECT_EQ(first, 2);
  EXPECT_EQ(second, 0);
}

TEST(JanitorTest, OwedWhileAtWorkItIsDoneOnceMore) {
  absl::Notification begun, owed;
  std::atomic<int> runs = 0;
  Janitor janitor(kQuick);
  auto chore = [&] {
    if (++runs == 1) {
      begun.Notify();
      owed.WaitForNotification();
    }
    return absl::OkStatus();
  };
  janitor.Owe("pod", chore);
  begun.WaitForNotification();
  janitor.Owe("pod", chore);
  owed.Notify();
  AwaitNothingOwed(janitor);
  EXPECT_EQ(runs, 2);
}

TEST(JanitorTest, WhatIsOwedAfterTheEndIsDropped) {
  std::atomic<int> tries = 0;
  Janitor janitor(kQuick);
  janitor.End();
  janitor.Owe("pod", [&] {
    ++tries;
    return absl::OkStatus();
  });
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_EQ(tries, 0);
}

TEST(JanitorTest, EndsWithoutDoingWhatIsOwed) {
  std::atomic<int> tries = 0;
  {
    Janitor janitor(kQuick);
    janitor.Owe(
        "later",
        [&] {
          ++tries;
          return absl::OkStatus();
        },
        absl::Hours(1));
  }
  EXPECT_EQ(tries, 0);
}

}  // namespace
}  // namespace berth::pod
