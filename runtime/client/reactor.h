// The launcher's own thread: reads what the shims say and runs what has to run there.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "runtime/base/status.h"
#include "runtime/sys/epoll.h"
#include "runtime/sys/unique_fd.h"

namespace berth::client {

class Reactor {
 public:
  // `on_ready` runs on the thread, one call at a time. It keeps alive what it captures until Remove.
  using Handler = std::function<void()>;

  static absl::StatusOr<std::shared_ptr<Reactor>> Start();
  // Stops the thread (unless it is the caller) and drops all handlers.
  ~Reactor();

  // Runs `handler` whenever `fd` can be read. Thread-safe. Returns a key for Remove.
  absl::StatusOr<uint64_t> Add(int fd, Handler handler) ABSL_LOCKS_EXCLUDED(mutex_);
  // To be called before `fd` is closed. The handler may still be running when called from another thread.
  void Remove(uint64_t key, int fd) ABSL_LOCKS_EXCLUDED(mutex_);
  // Runs `task` on the thread, soon.
  void Post(Handler task) ABSL_LOCKS_EXCLUDED(mutex_);
  void Stop();

 private:
  Reactor(sys::Epoll epoll, sys::UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {}
  void Run();
  void RunTasks();

  sys::Epoll epoll_;
  sys::UniqueFd wake_;  // eventfd
  absl::Mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Handler>> handlers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Handler> tasks_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_key_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace berth::client
