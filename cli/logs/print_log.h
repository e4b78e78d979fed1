// Prints containers' logs and, if asked to, what is added to them, over rotations.
#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::cli {

struct LogOptions {
  std::optional<int64_t> tail;  // lines, of each log
  absl::Time since = absl::InfinitePast(), until = absl::InfiniteFuture();
  bool timestamps = false;
  bool follow = false;
  bool prefix = false;  // each line begins with [POD/CONTAINER]
  bool json = false;    // one object a line, all of them to stdout
  int out_fd = -1;      // behind `out`: following ends when its reader does, though nothing is written
};

struct LogSource {
  std::string path;
  std::string pod, container;           // how lines are labelled
  std::function<bool()> still_running;  // asked about once a second; with `follow`
};

// Writes what the containers wrote to stdout and stderr to `out` and `err`, rotated files included: one log after the
// other, or with `follow` all of them as they come. With `follow` it returns when no container runs any more and all
// has been printed, or `out` takes no more; a log file that is not there yet is waited for. Errors: a file cannot be
// opened or read; the other logs are printed all the same. Blocking.
absl::Status PrintLogs(const std::vector<LogSource>& sources, const LogOptions& options, std::ostream& out,
                       std::ostream& err);

}  // namespace berth::cli
