// What has to be done sometime and cannot be done now: a teardown that failed, a plugin that does not answer. Tried
// again and again, ever more seldom, until it works.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>

#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cri/pod/worker_pool.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"

namespace berth::pod {

// Thread-safe. Remembers nothing beyond the process: whoever owes something durably keeps a record of it, and owes it
// anew at the next start.
class Janitor {
 public:
  struct Options {
    absl::Duration first = absl::Seconds(1);  // until the second attempt; doubled with each
    absl::Duration longest = absl::Minutes(1);
    int threads = 4;  // how many chores may be at work: one that hangs holds up no other
  };
  explicit Janitor(Options options);
  Janitor() : Janitor(Options{}) {}
  // Waits for the chores that are at work; the others are dropped.
  ~Janitor();
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;

  // Calls `chore` in a thread of its own, first at `delay` from now, until it returns OK or Cancelled. One that is owed
  // under that key already stays, and its turn comes at `delay`. Failures are logged with `key`: each new error, and
  // the same one after 2, 4, 8, … attempts.
  void Owe(absl::string_view key, std::function<absl::Status()> chore, absl::Duration delay = absl::ZeroDuration());
  // What is owed under it is not any more. One that is at work is finished, and not called again.
  void Forget(absl::string_view key);
  // key and the last error, empty before the first attempt.
  std::map<std::string, std::string> Owed() const;

 private:
  struct Chore {
    std::function<absl::Status()> run;
    Deadline due;
    absl::Duration wait;
    bool at_work = false;
    uint64_t failures = 0;
    std::string error;
  };
  void Loop();
  void Run(const std::string& key, const std::function<absl::Status()>& chore);
  bool Due() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Deadline Next() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable absl::Mutex mu_;
  TimedCondition wake_;
  std::map<std::string, Chore> chores_ ABSL_GUARDED_BY(mu_);
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  bool changed_ ABSL_GUARDED_BY(mu_) = false;
  WorkerPool workers_;
  std::thread thread_;
};

}  // namespace berth::pod
