#include "runtime/sys/signal.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace berth::sys {

absl::StatusOr<UniqueFd> BlockIntoFd(std::initializer_list<int> signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int s : signals) sigaddset(&set, s);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return ErrnoError(errno, "sigprocmask");
  UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return ErrnoError(errno, "signalfd");
  return fd;
}

int NextSignal(int fd) {
  signalfd_siginfo info;
  ssize_t n = read(fd, &info, sizeof info);
  return n == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
}

void ResetSignals() {
  // By the system call: sigaction(3) refuses the two signals that glibc uses itself, which its posix_spawn leaves
  // ignored.
  const unsigned long action[4] = {};  // the kernel's struct: handler (SIG_DFL), flags, restorer, mask
  for (int s = 1; s < NSIG; ++s)
    syscall(SYS_rt_sigaction, s, action, nullptr, sizeof(long));  // fails for KILL and STOP
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace berth::sys
