#include "image/snapshot/snapshot_meter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "absl/time/clock.h"

namespace berth::image {
namespace {

// A disk whose use is counted.
class Disk {
 public:
  SnapshotMeter::Options Options(absl::Duration interval, absl::Duration linger = absl::Minutes(1)) {
    return {.interval = interval,
            .linger = linger,
            .list =
                [this] {
                  absl::MutexLock lock(&mu);
                  ++rounds;
                  std::vector<ContainerId> ids;
                  for (const auto& [id, bytes] : sizes) ids.push_back(id);
                  return ids;
                },
            .measure = [this](const ContainerId& id) -> absl::StatusOr<TreeUsage> {
              {
                absl::MutexLock lock(&mu);
                ++measured;
              }
              if (during) during(id);
              absl::MutexLock lock(&mu);
              auto it = sizes.find(id);
              if (it == sizes.end()) return absl::NotFoundError("gone");
              return TreeUsage{.bytes = it->second, .inodes = 1};
            }};
  }
  // Waits until `count` more rounds have begun.
  void AwaitRounds(int count) {
    absl::MutexLock lock(&mu);
    wanted = rounds + count;
    mu.Await(absl::Condition(
        +[](Disk* d) { return d->rounds >= d->wanted; }, this));
  }
  int Measured() {
    absl::MutexLock lock(&mu);
    return measured;
  }
  void Set(const char* id, uint64_t bytes) {
    absl::MutexLock lock(&mu);
    sizes[ContainerId(id)] = bytes;
  }
  void Erase(const char* id) {
    absl::MutexLock lock(&mu);
    sizes.erase(ContainerId(id));
  }

  absl::Mutex mu;
  std::map<ContainerId, uint64_t> sizes;
  std::function<void(const ContainerId&)> during;
  int rounds = 0, measured = 0, wanted = 0;
};

constexpr absl::Duration kOften = absl::Milliseconds(1), kNever = absl::Hours(10);

// A round that has begun is over when the next one begins.
TEST(SnapshotMeter, MeasuresInItsOwnThread) {
  Disk disk;
  disk.Set("a", 100);
  disk.Set("b", 20);
  SnapshotMeter meter(disk.Options(kOften));
  disk.AwaitRounds(2);
  EXPECT_EQ(meter.Total().usage.bytes, 120u);
  EXPECT_EQ(meter.Total().usage.inodes, 2u);
  EXPECT_EQ(meter.Of(ContainerId("b"))->usage.bytes, 20u);
  disk.Set("b", 30);
  disk.AwaitRounds(2);
  EXPECT_EQ(meter.Total().usage.bytes, 130u);
  EXPECT_FALSE(meter.Of(ContainerId("c")).has_value());
  EXPECT_EQ(meter.All().size(), 2u);
}

TEST(SnapshotMeter, AskingTouchesNoDisk) {
  Disk disk;
  disk.Set("a", 100);
  SnapshotMeter meter(disk.Options(kNever));
  while (meter.Total().usage.bytes == 0) absl::SleepFor(absl::Milliseconds(1));
  const int before = disk.Measured();
  for (int i = 0; i < 10000; ++i) {
    meter.Total();
    meter.All();
    meter.Of(ContainerId("a"));
  }
  EXPECT_EQ(disk.Measured(), before);
}

TEST(SnapshotMeter, FiguresHaveTheTimeOfTheirMeasurement) {
  Disk disk;
  disk.Set("a", 100);
  const absl::Time begin = absl::Now();
  SnapshotMeter meter(disk.Options(kNever));
  while (meter.Total().usage.bytes == 0) absl::SleepFor(absl::Milliseconds(1));
  const absl::Time end = absl::Now();
  absl::SleepFor(absl::Milliseconds(20));
  EXPECT_GE(meter.Total().at, begin);
  EXPECT_LE(meter.Total().at, end);
  EXPECT_EQ(meter.Total().at, meter.Of(ContainerId("a"))->at);
}

TEST(SnapshotMeter, ANewOneIsThereAtOnceAndOneThatGoesToo) {
  Disk disk;
  SnapshotMeter meter(disk.Options(kNever));
  disk.Set("a", 100);
  meter.Add(ContainerId("a"));
  EXPECT_EQ(meter.Total().usage.bytes, 100u);
  meter.Remove(ContainerId("a"));
  EXPECT_EQ(meter.Total().usage.bytes, 0u);
  EXPECT_FALSE(meter.Of(ContainerId("a")).has_value());
}

TEST(SnapshotMeter, WhatGoesWhileItIsMeasuredDoesNotComeBack) {
  Disk disk;
  disk.Set("a", 100);
  SnapshotMeter* meter_of_thread = nullptr;
  SnapshotMeter meter(disk.Options(kNever));
  meter_of_thread = &meter;
  while (meter.Total().usage.bytes == 0) absl::SleepFor(absl::Milliseconds(1));
  disk.during = [&](const ContainerId& id) { meter_of_thread->Remove(id); };
  meter.Add(ContainerId("a"));  // as a round does
  EXPECT_EQ(meter.Total().usage.bytes, 0u);
}

TEST(SnapshotMeter, NobodyAsksNothingIsMeasured) {
  Disk disk;
  disk.Set("a", 100);
  SnapshotMeter meter(disk.Options(kOften, /*linger=*/absl::ZeroDuration()));
  while (disk.Measured() == 0) absl::SleepFor(absl::Milliseconds(1));
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_LE(disk.Measured(), 2);
  const int before = disk.Measured();
  meter.Total();
  while (disk.Measured() == before) absl::SleepFor(absl::Milliseconds(1));
}

}  // namespace
}  // namespace berth::image
