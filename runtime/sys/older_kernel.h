// For tests: a child process in which chosen system calls are answered as an older kernel answers them, by a seccomp
// filter. So each branch for an older kernel runs on the newest one too. Not for production.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/status.h"

namespace berth::sys {

// A system call that fails with `error`; always, or only when its argument `arg` is `equals`, has one of `bits`, or
// points to the string `text`. A call that several of these name fails as soon as one of them fits. What clone3(2) is
// asked for lies behind a pointer and is no string: it can only be missing as a whole.
struct MissingCall {
  long number;
  int error;
  int arg = 0;
  std::optional<uint32_t> equals;
  uint32_t bits = 0;
  std::string text;
};

// Runs `body` in a forked child for which `missing` holds and returns what it returned. Other threads of the
// caller are not there in the child.
// Unavailable when the kernel has no seccomp listeners; Aborted when the child died.
absl::StatusOr<std::string> OnOlderKernel(const std::vector<MissingCall>& missing,
                                          const std::function<std::string()>& body);

}  // namespace berth::sys
