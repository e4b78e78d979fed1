#include "runtime/sys/epoll.h"

#include <cerrno>

namespace berth::sys {

absl::StatusOr<Epoll> Epoll::Create() {
  UniqueFd fd(epoll_create1(EPOLL_CLOEXEC));
  if (!fd) return ErrnoError(errno, "epoll_create1");
  return Epoll(std::move(fd));
}

absl::Status Epoll::Add(int fd, uint32_t events, uint64_t key) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = key;
  if (epoll_ctl(fd_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoError(errno, "epoll_ctl ADD");
  return absl::OkStatus();
}

absl::Status Epoll::Change(int fd, uint32_t events, uint64_t key) {
  epoll_event event = {};
  event.events = events;
  event.data.u64 = key;
  if (epoll_ctl(fd_.get(), EPOLL_CTL_MOD, fd, &event) != 0) return ErrnoError(errno, "epoll_ctl MOD");
  return absl::OkStatus();
}

void Epoll::Remove(int fd) {
  epoll_event unused = {};
  epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, &unused);
}

absl::StatusOr<size_t> Epoll::Wait(absl::Span<epoll_event> out, int timeout_ms) {
  int n = epoll_wait(fd_.get(), out.data(), static_cast<int>(out.size()), timeout_ms);
  if (n < 0 && errno != EINTR) return ErrnoError(errno, "epoll_wait");
  return n < 0 ? 0 : static_cast<size_t>(n);
}

}  // namespace berth::sys
