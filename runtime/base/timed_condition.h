// Waiting, with a Deadline, for something that an absl::Mutex guards.
#pragma once

#include <condition_variable>

#include "absl/synchronization/mutex.h"
#include "runtime/base/deadline.h"

namespace berth {

// Thread-safe. Unlike absl's conditions it has to be told of changes: NotifyAll after each that may make one true.
class TimedCondition {
 public:
  // Whether `condition`, which is called with `mu` held, came true before the deadline.
  template <typename Condition>
  bool Await(absl::Mutex& mu, Condition condition, const Deadline& deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu) {
    Lockable lock{mu};
    while (!condition()) {
      if (deadline.Passed()) return false;
      if (deadline.Left() == absl::InfiniteDuration()) {
        changed_.wait(lock);
      } else {
        changed_.wait_until(lock, deadline.at());
      }
    }
    return true;
  }
  // With or without the mutex.
  void NotifyAll() { changed_.notify_all(); }

 private:
  struct Lockable {
    void lock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mu.Lock(); }
    void unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS { mu.Unlock(); }
    absl::Mutex& mu;
  };
  std::condition_variable_any changed_;
};

}  // namespace berth
