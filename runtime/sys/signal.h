// Signal masks and signalfd(2), for processes of one thread.
#pragma once

#include <initializer_list>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// Blocks `signals` and returns the descriptor they are read from. Non-blocking.
absl::StatusOr<UniqueFd> BlockIntoFd(std::initializer_list<int> signals);

// The next signal that waits, 0 for none.
int NextSignal(int signalfd);

// Every signal unblocked and at its default action, as a program expects to be started.
void ResetSignals();

}  // namespace berth::sys
