// What this process has learned about the hosts that it asks: which of them want to be left alone for a while, and
// which could not be reached just now. One object for all pulls, so that what one of them was told holds for all.
// Thread-safe.
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::image {

class HostHealth {
 public:
  // A pull waits for no host longer than this.
  static constexpr absl::Duration kLongestWait = absl::Seconds(60);
  // However long a host wants to be left alone, it is asked again after this.
  static constexpr absl::Duration kLongestRest = absl::Minutes(10);
  static constexpr absl::Duration kUnreachableFor = absl::Seconds(30);

  // Hosts are "name:port".
  // It said Retry-After. A shorter time than the one that is running changes nothing.
  void LetRest(const std::string& host, absl::Duration time) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetUnreachable(const std::string& host) ABSL_LOCKS_EXCLUDED(mutex_);
  void SetReached(const std::string& host) ABSL_LOCKS_EXCLUDED(mutex_);

  // How long nobody may ask it; zero: now.
  absl::Duration RestLeft(const std::string& host) const ABSL_LOCKS_EXCLUDED(mutex_);
  bool IsUnreachable(const std::string& host) const ABSL_LOCKS_EXCLUDED(mutex_);

  // OK when it may be asked now; otherwise Unavailable, of which RestOf knows how long.
  absl::Status CheckRest(const std::string& host) const;

 private:
  using Clock = std::chrono::steady_clock;  // the wall clock may jump
  struct Entry {
    Clock::time_point rests_until;
    Clock::time_point unreachable_until;
  };

  Entry& At(const std::string& host) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);  // without one: asked at any time
};

// How long the host rests that an error of CheckRest speaks of; zero for any other status.
absl::Duration RestOf(const absl::Status& status);

}  // namespace berth::image
