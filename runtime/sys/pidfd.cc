#include "runtime/sys/pidfd.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace berth::sys {
namespace {

constexpr idtype_t kPidfdType = static_cast<idtype_t>(3);  // P_PIDFD, which glibc has since 2.36

}  // namespace

absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid) {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return ErrnoError(errno, absl::StrCat("pidfd_open ", pid));
  return fd;
}

absl::Status SignalPidfd(int pidfd, int signal) {
  if (syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0) return absl::OkStatus();
  if (errno == ESRCH) return absl::NotFoundError("the process has exited");
  return ErrnoError(errno, absl::StrCat("pidfd_send_signal ", signal));
}

bool WaitPidfdExited(int pidfd, int timeout_ms) {
  pollfd p = {pidfd, POLLIN, 0};
  int n;
  while ((n = poll(&p, 1, timeout_ms)) < 0 && errno == EINTR) {
  }
  return n > 0 && (p.revents & POLLIN) != 0;
}

bool PidfdExited(int pidfd) { return WaitPidfdExited(pidfd, 0); }

absl::StatusOr<UniqueFd> TakeDescriptor(int pidfd, int number) {
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, number, 0)));
  if (!fd) return ErrnoError(errno, absl::StrCat("pidfd_getfd ", number));
  return fd;
}

absl::StatusOr<std::optional<ExitStatus>> ReapPidfd(int pidfd) {
  siginfo_t info = {};
  int rc;
  while ((rc = waitid(kPidfdType, static_cast<id_t>(pidfd), &info, WEXITED | WNOHANG)) != 0 && errno == EINTR) {
  }
  if (rc != 0) return ErrnoError(errno, "waitid");
  if (info.si_pid == 0) return std::optional<ExitStatus>();
  ExitStatus status;
  if (info.si_code == CLD_EXITED) {
    status.code = info.si_status;
  } else {
    status.signal = info.si_status;
    status.code = 128 + info.si_status;
  }
  return std::optional<ExitStatus>(status);
}

}  // namespace berth::sys
