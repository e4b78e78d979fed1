#include "runtime/shim/output.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace berth::shim {

int64_t WallClock() {
  timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return int64_t{t.tv_sec} * 1000000000 + t.tv_nsec;
}

OutputStream::Result OutputStream::Pump(container::LogFile& log, LogScratch& scratch, absl::string_view* read) {
  if (!open()) return Result::kEnded;
  ssize_t n;
  while ((n = ::read(fd_.get(), scratch.input, sizeof scratch.input)) < 0 && errno == EINTR) {
  }
  if (n < 0 && errno == EAGAIN) return Result::kEmpty;
  const int64_t now = WallClock();
  if (n <= 0) {  // a terminal ends with EIO
    log.Write(absl::string_view(scratch.lines, encoder_.Finish(now, scratch.lines)), now);
    return Result::kEnded;
  }
  absl::string_view input(scratch.input, static_cast<size_t>(n));
  *read = input;
  // One write for one read, unless its lines are very short; no more memory than that takes.
  const size_t room = std::max(2 * sizeof scratch.input, encoder_.max_line());
  while (!input.empty()) {
    const absl::string_view lines(scratch.lines, encoder_.Encode(input, now, scratch.lines, room));
    if (!lines.empty()) log.Write(lines, now);
  }
  return Result::kMore;
}

}  // namespace berth::shim
