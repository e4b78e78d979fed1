// Whether the kernel killed a process of a cgroup for want of memory.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace berth::container {

// The value after "oom_kill " in memory.events (v2) or memory.oom_control (v1); 0 when there is none.
uint64_t ParseOomKills(absl::string_view text);
// Reads it from an open descriptor; 0 when it cannot be read or `fd` < 0.
uint64_t ReadOomKills(int fd);

}  // namespace berth::container
