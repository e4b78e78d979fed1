#include "runtime/sys/fd_table.h"

#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace berth::sys {
namespace {

absl::Status CloseRange(unsigned first, unsigned last, unsigned flags) {
  if (first > last) return absl::OkStatus();
  if (syscall(SYS_close_range, first, last, flags) != 0) return ErrnoError(errno, "close_range");
  return absl::OkStatus();
}

}  // namespace

absl::Status CloseAllExcept(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned next = 0;
  for (int fd : keep) {
    if (fd < 0 || static_cast<unsigned>(fd) < next) continue;
    if (fd > 0) RETURN_IF_ERROR(CloseRange(next, static_cast<unsigned>(fd) - 1, 0));
    next = static_cast<unsigned>(fd) + 1;
  }
  return CloseRange(next, ~0u, 0);
}

absl::Status CloseOnExecFrom(int first) { return CloseRange(static_cast<unsigned>(first), ~0u, CLOSE_RANGE_CLOEXEC); }

}  // namespace berth::sys
