// Processes by descriptor (pidfd_open(2), pidfd_send_signal(2), waitid(2) P_PIDFD): a pidfd never means another
// process, however often its number is used again. Thread-safe.
#pragma once

#include <sys/types.h>

#include <optional>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// ESRCH (NotFound) when there is no such process.
absl::StatusOr<UniqueFd> OpenPidfd(pid_t pid);

// NotFound when the process has exited and was reaped.
absl::Status SignalPidfd(int pidfd, int signal);

// Whether the process has exited, reaped or not.
bool PidfdExited(int pidfd);
// Waits for that, at most `timeout_ms` (-1 = for ever); false when it still lives.
bool WaitPidfdExited(int pidfd, int timeout_ms);

// A duplicate of the process's descriptor `number` (pidfd_getfd(2), Linux 5.6). Takes the right to ptrace it.
absl::StatusOr<UniqueFd> TakeDescriptor(int pidfd, int number);

struct ExitStatus {
  int code = 0;    // as a shell shows it: 128 + signal for a signal
  int signal = 0;  // 0 = it exited by itself
};
// Reaps a child of ours. nullopt while it lives; ECHILD when it is not our child.
absl::StatusOr<std::optional<ExitStatus>> ReapPidfd(int pidfd);

}  // namespace berth::sys
