#include "runtime/security/listener.h"

#include <sys/mman.h>
#include <time.h>

#include <cerrno>
#include <new>

#include "runtime/sys/pidfd.h"

namespace berth::security {
namespace {

constexpr long kPauseNanoseconds = 20000;

int64_t Milliseconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<int64_t>(t.tv_sec) * 1000 + t.tv_nsec / 1000000;
}

}  // namespace

void ListenerMailbox::Unmap::operator()(ListenerMailbox* mailbox) const { munmap(mailbox, sizeof(ListenerMailbox)); }

absl::StatusOr<ListenerMailbox::Pointer> ListenerMailbox::Create() {
  static_assert(std::atomic<int>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);
  void* page = mmap(nullptr, sizeof(ListenerMailbox), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return ErrnoError(errno, "mmap a page to share");
  return Pointer(new (page) ListenerMailbox);
}

void ListenerMailbox::Offer(int listener) {
  listener_.store(listener, std::memory_order_release);
  while (!taken_.load(std::memory_order_acquire)) {
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
  }
}

absl::StatusOr<sys::UniqueFd> ListenerMailbox::Take(int pidfd, int timeout_ms) {
  const int64_t deadline = Milliseconds() + timeout_ms;
  int number;
  while ((number = listener_.load(std::memory_order_acquire)) < 0) {
    if (sys::PidfdExited(pidfd)) return absl::AbortedError("the process exited before its seccomp program was loaded");
    if (Milliseconds() > deadline) return absl::DeadlineExceededError("the seccomp program is not being loaded");
    const timespec pause = {0, kPauseNanoseconds};
    nanosleep(&pause, nullptr);
  }
  ASSIGN_OR_RETURN(sys::UniqueFd listener, sys::TakeDescriptor(pidfd, number), "seccomp listener");
  taken_.store(true, std::memory_order_release);
  return listener;
}

}  // namespace berth::security
