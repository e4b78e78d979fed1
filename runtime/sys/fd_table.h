// The descriptor table of a process that is about to become somebody else's (close_range(2)).
#pragma once

#include <vector>

#include "runtime/base/status.h"

namespace berth::sys {

// Closes every descriptor that is not in `keep` (negative ones are ignored). Linux 5.9.
absl::Status CloseAllExcept(std::vector<int> keep);

// Marks every descriptor from `first` up close-on-exec. Linux 5.11.
absl::Status CloseOnExecFrom(int first);

}  // namespace berth::sys
