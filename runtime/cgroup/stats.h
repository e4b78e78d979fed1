// Usage figures from the text of cgroupfs files. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace berth::cgroup {

struct Stats {
  uint64_t cpu_usage_ns = 0;
  uint64_t memory_usage = 0;        // bytes
  uint64_t memory_working_set = 0;  // usage less the inactive file cache
  uint64_t memory_rss = 0;
  std::optional<uint64_t> memory_limit;
  uint64_t swap_usage = 0;
  uint64_t page_faults = 0;
  uint64_t major_page_faults = 0;
  uint64_t pids = 0;
  uint64_t oom_kills = 0;
};

// The number after `key` in lines of "key number"; nullopt when there is none.
std::optional<uint64_t> KeyedValue(absl::string_view text, absl::string_view key);
// A file that holds one number; "max" and what is no number are nullopt.
std::optional<uint64_t> SingleValue(absl::string_view text);
// usage - inactive_file, not below 0.
uint64_t WorkingSet(uint64_t usage, uint64_t inactive_file);

}  // namespace berth::cgroup
