// How large the writable layers of containers are, measured in a thread of its own while somebody wants to know, so
// that asking costs nothing.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "image/unpack/tree_usage.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"

namespace berth::image {

class SnapshotMeter {
 public:
  struct Options {
    absl::Duration interval = absl::Seconds(10);  // between the end of one round and the next
    absl::Duration linger = absl::Minutes(1);     // rounds end when nobody has asked for so long
    // What there is to measure, and measuring one of it; called from the meter's thread, and from Add's.
    std::function<std::vector<ContainerId>()> list;
    std::function<absl::StatusOr<TreeUsage>(const ContainerId&)> measure;
  };
  struct Figure {
    TreeUsage usage;
    absl::Time at;  // when it was measured
  };

  // Begins with a round. The thread runs when nothing else wants the processor.
  explicit SnapshotMeter(Options options);
  ~SnapshotMeter();  // waits for the tree that is being measured
  SnapshotMeter(const SnapshotMeter&) = delete;
  SnapshotMeter& operator=(const SnapshotMeter&) = delete;

  // The latest figures, and the wish for newer ones.
  std::map<ContainerId, Figure> All() ABSL_LOCKS_EXCLUDED(mutex_);
  // The sum, and the time of its oldest part; of the last round's end when there is no part.
  Figure Total() ABSL_LOCKS_EXCLUDED(mutex_);
  // Absent when it was not measured yet.
  std::optional<Figure> Of(const ContainerId& id) ABSL_LOCKS_EXCLUDED(mutex_);

  // Measures a new one here and now: it is empty.
  void Add(const ContainerId& id) ABSL_LOCKS_EXCLUDED(mutex_);
  // It is gone: it counts no more, from this moment.
  void Remove(const ContainerId& id) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void Measure(const ContainerId& id) ABSL_LOCKS_EXCLUDED(mutex_);
  void Asked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  absl::Mutex mutex_;
  TimedCondition changed_;  // wanted_ or stop_
  std::map<ContainerId, Figure> figures_ ABSL_GUARDED_BY(mutex_);
  std::set<ContainerId> gone_ ABSL_GUARDED_BY(mutex_);  // removed since the round began
  Deadline wanted_until_ ABSL_GUARDED_BY(mutex_);
  absl::Time round_ended_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool wanted_ ABSL_GUARDED_BY(mutex_) = true;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace berth::image
