// Threads that run blocking work: started on demand, up to a bound.
#pragma once

#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"

namespace berth::pod {

// Thread-safe. Work is started in the order of Post. The destructor waits for all that was posted.
class WorkerPool {
 public:
  WorkerPool(int max_threads, size_t max_queued) : max_threads_(max_threads), max_queued_(max_queued) {}
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // ResourceExhausted when every thread is busy and the queue is full, or when there is no thread and none can be made:
  // the work will not run.
  absl::Status Post(std::function<void()> work);

 private:
  void Run();

  const int max_threads_;
  const size_t max_queued_;
  absl::Mutex mu_;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mu_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mu_);
  int idle_ ABSL_GUARDED_BY(mu_) = 0;
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace berth::pod
