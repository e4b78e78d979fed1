#include "image/snapshot/snapshot_meter.h"

#include <linux/ioprio.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace berth::image {
namespace {

// Of this thread; a machine that refuses has it at normal priority.
void RunWhenIdle() {
  pthread_setname_np(pthread_self(), "berth-meter");
  sched_param idle = {};
  sched_setscheduler(0, SCHED_IDLE, &idle);
  syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

}  // namespace

SnapshotMeter::SnapshotMeter(Options options)
    : options_(std::move(options)), wanted_until_(Deadline::In(options_.linger)), thread_(&SnapshotMeter::Run, this) {}

SnapshotMeter::~SnapshotMeter() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void SnapshotMeter::Asked() {
  wanted_until_ = Deadline::In(options_.linger);
  if (!std::exchange(wanted_, true)) changed_.NotifyAll();
}

std::map<ContainerId, SnapshotMeter::Figure> SnapshotMeter::All() {
  absl::MutexLock lock(&mutex_);
  Asked();
  return figures_;
}

SnapshotMeter::Figure SnapshotMeter::Total() {
  absl::MutexLock lock(&mutex_);
  Asked();
  Figure total{.at = figures_.empty() ? std::max(round_ended_, absl::UnixEpoch()) : absl::InfiniteFuture()};
  for (const auto& [id, figure] : figures_) {
    total.usage.bytes += figure.usage.bytes;
    total.usage.inodes += figure.usage.inodes;
    total.at = std::min(total.at, figure.at);
  }
  return total;
}

std::optional<SnapshotMeter::Figure> SnapshotMeter::Of(const ContainerId& id) {
  absl::MutexLock lock(&mutex_);
  Asked();
  auto it = figures_.find(id);
  return it == figures_.end() ? std::nullopt : std::optional(it->second);
}

void SnapshotMeter::Add(const ContainerId& id) { Measure(id); }

void SnapshotMeter::Remove(const ContainerId& id) {
  absl::MutexLock lock(&mutex_);
  gone_.insert(id);
  figures_.erase(id);
}

void SnapshotMeter::Measure(const ContainerId& id) {
  const absl::Time at = absl::Now();
  absl::StatusOr<TreeUsage> usage = options_.measure(id);
  absl::MutexLock lock(&mutex_);
  // One that went meanwhile must not come back.
  if (usage.ok() && !gone_.contains(id)) figures_[id] = {*usage, at};
}

void SnapshotMeter::Run() {
  RunWhenIdle();
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      gone_.clear();  // what went before is not listed
    }
    for (const ContainerId& id : options_.list()) {
      Measure(id);
      absl::MutexLock lock(&mutex_);
      if (stop_) return;
    }
    absl::MutexLock lock(&mutex_);
    round_ended_ = absl::Now();
    auto stopped = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_; };
    changed_.Await(mutex_, stopped, Deadline::In(options_.interval));
    if (wanted_until_.Passed()) {
      wanted_ = false;
      auto called = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return wanted_ || stop_; };
      changed_.Await(mutex_, called, Deadline());
    }
    if (stop_) return;
  }
}

}  // namespace berth::image
