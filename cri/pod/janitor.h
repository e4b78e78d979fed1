// What has to be done sometime and cannot be done now: a teardown that failed, a plugin that does not answer. Tried
// again and again, ever more seldom, until it works.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
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
    int threads = 64;  // how many chores may be at work: those that hang hold up no others, as long as they are fewer
  };
  explicit Janitor(Options options);
  Janitor() : Janitor(Options{}) {}
  ~Janitor() { End(); }
  Janitor(const Janitor&) = delete;
  Janitor& operator=(const Janitor&) = delete;

  // Waits for the chores that are at work; the others, and what is owed from now on, are dropped. For an owner whose
  // chores need what ends before it.
  void End();

  // Calls `chore` in a thread of its own, first at `delay` from now, until it returns OK or Cancelled. One that is owed
  // under that key already stays, and its turn comes at `delay`: once more when it is at work just now. Failures are
  // logged with `key`: each new error, and the same one after 2, 4, 8, … attempts.
  void Owe(absl::string_view key, std::function<absl::Status()> chore, absl::Duration delay = absl::ZeroDuration());
  // key and the last error, empty before the first attempt.
  std::map<std::string, std::string> Owed() const;

 private:
  struct Chore {
    std::function<absl::Status()> run;
    Deadline due;
    absl::Duration wait;
    bool at_work = false;
    bool again = false;  // owed anew since it began
    uint64_t failures = 0;
    std::string error;
  };
  void Loop();
  void Run(const std::string& key, const std::function<absl::Status()>& chore);
  Deadline Next() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable absl::Mutex mu_;
  TimedCondition wake_;
  std::map<std::string, Chore> chores_ ABSL_GUARDED_BY(mu_);
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  bool changed_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<WorkerPool> workers_;  // null after End
  std::thread thread_;
};

}  // namespace berth::pod
