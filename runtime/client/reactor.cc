#include "runtime/client/reactor.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <cerrno>

namespace berth::client {

absl::StatusOr<std::shared_ptr<Reactor>> Reactor::Start() {
  ASSIGN_OR_RETURN(sys::Epoll epoll, sys::Epoll::Create());
  sys::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return ErrnoError(errno, "eventfd");
  std::shared_ptr<Reactor> reactor(new Reactor(std::move(epoll), std::move(wake)));
  RETURN_IF_ERROR(reactor->epoll_.Add(reactor->wake_.get(), EPOLLIN, 0));
  // Signals are for other threads: it inherits a full mask.
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  reactor->thread_ = std::thread([r = reactor.get()] { r->Run(); });
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
  pthread_setname_np(reactor->thread_.native_handle(), "shim-client");
  return reactor;
}

Reactor::~Reactor() { Stop(); }

void Reactor::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  eventfd_write(wake_.get(), 1);
  if (!thread_.joinable()) return;
  if (thread_.get_id() == std::this_thread::get_id()) {
    thread_.detach();
  } else {
    thread_.join();
  }
}

absl::StatusOr<uint64_t> Reactor::Add(int fd, Handler handler) {
  uint64_t key;
  {
    absl::MutexLock lock(&mutex_);
    key = next_key_++;
    handlers_[key] = std::make_shared<Handler>(std::move(handler));
  }
  absl::Status added = epoll_.Add(fd, EPOLLIN, key);
  if (!added.ok()) {
    absl::MutexLock lock(&mutex_);
    handlers_.erase(key);
    return added;
  }
  return key;
}

void Reactor::Remove(uint64_t key, int fd) {
  epoll_.Remove(fd);
  std::shared_ptr<Handler> last;  // destroyed without the lock
  absl::MutexLock lock(&mutex_);
  auto it = handlers_.find(key);
  if (it == handlers_.end()) return;
  last = std::move(it->second);
  handlers_.erase(it);
}

void Reactor::Post(Handler task) {
  {
    absl::MutexLock lock(&mutex_);
    tasks_.push_back(std::move(task));
  }
  eventfd_write(wake_.get(), 1);
}

void Reactor::RunTasks() {
  eventfd_t count;
  eventfd_read(wake_.get(), &count);
  std::vector<Handler> tasks;
  {
    absl::MutexLock lock(&mutex_);
    tasks.swap(tasks_);
  }
  for (Handler& task : tasks) task();
}

void Reactor::Run() {
  epoll_event events[64];
  for (;;) {
    auto count = epoll_.Wait(absl::MakeSpan(events), -1);
    if (!count.ok()) return;
    for (size_t i = 0; i < *count; ++i) {
      if (events[i].data.u64 == 0) {
        RunTasks();
        continue;
      }
      std::shared_ptr<Handler> handler;
      {
        absl::MutexLock lock(&mutex_);
        auto it = handlers_.find(events[i].data.u64);
        if (it != handlers_.end()) handler = it->second;
      }
      if (handler) (*handler)();
    }
    absl::MutexLock lock(&mutex_);
    if (stopping_) return;
  }
}

}  // namespace berth::client
