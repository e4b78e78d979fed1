// Prints a container's log file and, if asked to, what is added to it, over rotations.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::cli {

struct LogOptions {
  std::optional<int64_t> tail;  // lines
  absl::Time since = absl::InfinitePast();
  bool timestamps = false;
  bool follow = false;
};

// Writes what the container wrote to stdout and stderr to `out` and `err`. With `follow` it returns when
// `still_running` (asked about once a second) says no and all has been printed; a log file that is not there yet is
// waited for. Errors: the file cannot be opened or read. Blocking.
absl::Status PrintLog(const std::string& path, const LogOptions& options, std::ostream& out, std::ostream& err,
                      const std::function<bool()>& still_running);

}  // namespace berth::cli
