#include "cri/pod/worker_pool.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace berth::pod {
namespace {

constexpr absl::Duration kIdle = absl::Minutes(1);

}  // namespace

WorkerPool::~WorkerPool() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mu_);
    closing_ = true;
    // Those that end now leave the list to us.
    threads.swap(threads_);
    std::move(ended_.begin(), ended_.end(), std::back_inserter(threads));
    ended_.clear();
  }
  for (std::thread& t : threads) t.join();
}

absl::Status WorkerPool::Post(std::function<void()> work) {
  std::vector<std::thread> ended;  // joined outside the lock; they are past their last use of it
  absl::Status posted = absl::OkStatus();
  {
    absl::MutexLock lock(&mu_);
    ended.swap(ended_);
    posted = PostLocked(std::move(work));
  }
  for (std::thread& t : ended) t.join();
  return posted;
}

absl::Status WorkerPool::PostLocked(std::function<void()> work) {
  const bool grow = static_cast<int>(queue_.size()) >= idle_ && static_cast<int>(threads_.size()) < max_threads_;
  const bool room = queue_.size() < max_queued_ + static_cast<size_t>(idle_);
  if (!grow && !room) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the daemon is busy: ", threads_.size(), " ", what_, " run and ", queue_.size(), " wait"));
  }
  queue_.push_back(std::move(work));
  if (!grow) return absl::OkStatus();
  try {
    threads_.emplace_back(&WorkerPool::Run, this);
  } catch (const std::system_error& e) {
    // Those that there are will come to it.
    if (room && !threads_.empty()) return absl::OkStatus();
    queue_.pop_back();
    return absl::ResourceExhaustedError(
        absl::StrCat("no thread for it beside ", threads_.size(), " ", what_, ": ", e.what()));
  }
  return absl::OkStatus();
}

void WorkerPool::Run() {
  mu_.Lock();
  for (;;) {
    ++idle_;
    // By the real-time clock: a jump of it ends a thread too early or too late, no more.
    const bool woken = mu_.AwaitWithTimeout(absl::Condition(this, &WorkerPool::HasWork), kIdle);
    --idle_;
    if (!woken || queue_.empty()) break;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    mu_.Unlock();
    work();
    work = nullptr;  // its captures are destroyed outside the lock
    mu_.Lock();
  }
  const auto self = std::find_if(threads_.begin(), threads_.end(),
                                 [](const std::thread& t) { return t.get_id() == std::this_thread::get_id(); });
  if (self != threads_.end()) {
    ended_.push_back(std::move(*self));
    threads_.erase(self);
  }
  mu_.Unlock();
}

}  // namespace berth::pod
