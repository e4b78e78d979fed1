// How the listener of a seccomp program that notifies (seccomp_unotify(2)) gets out of the process that loads the
// program. From that moment on each of its system calls may wait for an answer that nobody can give yet, so it makes
// none: it writes the descriptor's number into memory that it shares with the shim, and spins until the shim has taken
// the descriptor (pidfd_getfd(2)). No profile can deadlock this, whatever it notifies.
#pragma once

#include <atomic>
#include <memory>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::security {

// A page shared by a process and the children that it clones after making it.
class ListenerMailbox {
 public:
  struct Unmap {
    void operator()(ListenerMailbox* mailbox) const;
  };
  using Pointer = std::unique_ptr<ListenerMailbox, Unmap>;
  static absl::StatusOr<Pointer> Create();

  // The child's side: waits for Take, without a system call and without an end: whoever gives up on the child kills it.
  void Offer(int listener);

  // The other side: waits for Offer, for microseconds usually, and takes the listener. Aborted when the process
  // `pidfd` exits meanwhile; DeadlineExceeded after `timeout_ms`. After an error the child has to be killed.
  absl::StatusOr<sys::UniqueFd> Take(int pidfd, int timeout_ms);

 private:
  ListenerMailbox() = default;
  std::atomic<int> listener_{-1};
  std::atomic<bool> taken_{false};
};

}  // namespace berth::security
