#include "cri/pod/worker_pool.h"

#include <system_error>
#include <utility>

namespace berth::pod {

WorkerPool::~WorkerPool() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mu_);
    closing_ = true;
    threads.swap(threads_);
  }
  for (std::thread& t : threads) t.join();
}

absl::Status WorkerPool::Post(std::function<void()> work) {
  absl::MutexLock lock(&mu_);
  bool grow = static_cast<int>(queue_.size()) >= idle_ && static_cast<int>(threads_.size()) < max_threads_;
  if (!grow && queue_.size() >= max_queued_ + static_cast<size_t>(idle_)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the daemon is busy: ", threads_.size(), " calls run and ", queue_.size(), " wait"));
  }
  queue_.push_back(std::move(work));
  if (!grow) return absl::OkStatus();
  try {
    threads_.emplace_back(&WorkerPool::Run, this);
  } catch (const std::system_error& e) {
    // Those that there are will come to it.
    if (!threads_.empty()) return absl::OkStatus();
    queue_.pop_back();
    return absl::ResourceExhaustedError(absl::StrCat("no thread for the call: ", e.what()));
  }
  return absl::OkStatus();
}

void WorkerPool::Run() {
  mu_.Lock();
  for (;;) {
    ++idle_;
    mu_.Await(absl::Condition(
        +[](WorkerPool* p) ABSL_EXCLUSIVE_LOCKS_REQUIRED(p->mu_) { return p->closing_ || !p->queue_.empty(); }, this));
    --idle_;
    if (queue_.empty()) break;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    mu_.Unlock();
    work();
    work = nullptr;  // its captures are destroyed outside the lock
    mu_.Lock();
  }
  mu_.Unlock();
}

}  // namespace berth::pod
