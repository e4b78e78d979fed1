// Pulls of one image that run at once are one pull: those who ask while it runs wait for it and share its result.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/catalog/catalog.h"
#include "image/pull/pull_monitor.h"
#include "image/store.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"

namespace berth::image {

class PullFlights {
 public:
  using Job = std::function<absl::StatusOr<ImageRow>(PullMonitor& monitor)>;

  // Runs `job` in a thread of its own, or joins the one that runs under `key`. Calls request.progress in this thread.
  // When request.cancelled says so, the caller gets Cancelled; the job is cancelled, and waited for, when nobody else
  // waits for it. Must not be destroyed during a call.
  absl::StatusOr<ImageRow> Run(const std::string& key, const PullRequest& request, Job job) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Flight {
    PullMonitor monitor;
    int waiters = 0;                                                                   // guarded by PullFlights::mutex_
    bool done = false;                                                                 // likewise
    absl::StatusOr<ImageRow> result = absl::UnknownError("the pull is not finished");  // likewise; const once done
    std::thread thread;                                                                // joined by the last waiter
  };

  std::shared_ptr<Flight> Join(const std::string& key, Job job) ABSL_LOCKS_EXCLUDED(mutex_);
  // The last one to leave stops the job if it still runs, and waits for it.
  void Leave(const std::string& key, const std::shared_ptr<Flight>& flight) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  TimedCondition changed_;
  std::map<std::string, std::shared_ptr<Flight>> flights_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::image
