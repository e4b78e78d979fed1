// What a child between clone and exec says to the shim, over a SEQPACKET socket that exec closes: a plain struct.
// End of connection without a failure means that the program runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "runtime/base/status.h"
#include "runtime/container/step_timer.h"
#include "runtime/sys/unique_fd.h"

namespace berth::container {

struct ChildReport {
  enum Kind : uint32_t {
    kForked = 1,   // `pid` lives; its pidfd comes beside
    kReady = 2,    // all is built; a container's child waits to be released. A terminal's master may come beside
    kFailed = 3,   // and the child exits
    kLoading = 4,  // a seccomp program that notifies is about to be loaded: its listener waits to be taken
  };
  Kind kind;
  int32_t pid;
  int32_t code;          // absl::StatusCode
  int32_t error_number;  // 0 = none
  uint32_t step_count;
  struct Step {
    char name[24];
    uint64_t nanoseconds;
  } steps[StepTimer::kMaxSteps];
  char message[512];
};
static_assert(std::is_trivially_copyable_v<ChildReport>);

ChildReport MakeReport(ChildReport::Kind kind, const StepTimer& timer, const absl::Status& status);
absl::Status StatusOf(const ChildReport& report);

// Sends; `fd` >= 0 goes beside. A parent that is gone is no error to the child.
void SendReport(int control, const ChildReport& report, int fd = -1);

struct ReceivedReport {
  ChildReport report;
  sys::UniqueFd fd;
};
// The next report: OutOfRange at the end of the connection, Unavailable when none waits (non-blocking).
absl::StatusOr<ReceivedReport> ReceiveReport(int control, int flags);

}  // namespace berth::container
