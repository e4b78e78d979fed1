#include "image/pull/parallel_jobs.h"

#include <algorithm>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "runtime/base/timed_condition.h"

namespace berth::image {
namespace {

constexpr absl::Duration kReport = absl::Milliseconds(100);

struct Progress {
  absl::Mutex mutex;
  TimedCondition ended;
  size_t running ABSL_GUARDED_BY(mutex) = 0;
  absl::Status first_error ABSL_GUARDED_BY(mutex);
};

}  // namespace

absl::Status RunJobs(size_t count, int parallel, std::atomic<bool>& stop, absl::FunctionRef<absl::Status(size_t)> job,
                     absl::FunctionRef<void()> report) {
  Progress progress;
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i = next.fetch_add(1); i < count && !stop.load(); i = next.fetch_add(1)) {
      absl::Status status = job(i);
      if (status.ok()) continue;
      absl::MutexLock lock(&progress.mutex);
      if (progress.first_error.ok()) progress.first_error = status;
      stop.store(true);  // afterwards: what that makes of the others is not the first error
    }
    absl::MutexLock lock(&progress.mutex);
    --progress.running;
    progress.ended.NotifyAll();
  };
  const size_t workers = std::min(count, static_cast<size_t>(std::max(parallel, 1)));
  {
    absl::MutexLock lock(&progress.mutex);
    progress.running = workers;
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < workers; ++i) threads.emplace_back(work);
  for (bool running = true; running;) {
    {
      absl::MutexLock lock(&progress.mutex);
      auto over = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(progress.mutex) { return progress.running == 0; };
      running = !progress.ended.Await(progress.mutex, over, Deadline::In(kReport));
    }
    report();
  }
  for (std::thread& thread : threads) thread.join();
  absl::MutexLock lock(&progress.mutex);
  return progress.first_error;
}

}  // namespace berth::image
