// Threads that run blocking work: started on demand, up to a bound.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"

namespace berth::pod {

// Thread-safe. Work is started in the order of Post. A thread that had nothing to do for a minute ends. The destructor
// waits for all that was posted.
class WorkerPool {
 public:
  // `what` is run, for messages.
  WorkerPool(int max_threads, size_t max_queued, const char* what = "calls")
      : max_threads_(max_threads), max_queued_(max_queued), what_(what) {}
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // ResourceExhausted when every thread is busy and the queue is full, or when a thread is needed and none can be made:
  // the work will not run.
  absl::Status Post(std::function<void()> work);

 private:
  void Run();
  absl::Status PostLocked(std::function<void()> work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return closing_ || !queue_.empty(); }

  const int max_threads_;
  const size_t max_queued_;
  const char* const what_;
  absl::Mutex mu_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> ended_ ABSL_GUARDED_BY(mu_);  // to be joined
  int idle_ ABSL_GUARDED_BY(mu_) = 0;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth::pod
