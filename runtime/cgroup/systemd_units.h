// The few words that are spoken with systemd (org.freedesktop.systemd1(5)): transient scopes, started and stopped. Each
// call has a connection of its own, to systemd itself and only where that is not there through the system bus: so
// nothing is shared by threads, and neither a restarted bus nor a re-executed systemd leaves a dead connection behind.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/time/time.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/slice.h"

namespace berth::cgroup {

// Whether systemd is this machine's init.
bool SystemdIsInit();

// Starts the scope with `pid`, a child of the caller, as its first process, and waits until it is there. Its subtree is
// delegated; systemd removes it when its last process ends, and forgets it. Unavailable when systemd does not answer,
// AlreadyExists, DeadlineExceeded, FailedPrecondition with the job's result. Thread-safe.
absl::Status StartScope(const Scope& scope, pid_t pid, absl::Duration timeout);

// Stops a unit and waits until it is inactive. OK when systemd does not know it. Thread-safe.
absl::Status StopUnit(const std::string& unit, absl::Duration timeout);

}  // namespace berth::cgroup
