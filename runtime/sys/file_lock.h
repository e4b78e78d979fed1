// A file whose lock says which process works with a directory: one daemon, or one repair. fcntl(2)'s lock of an open
// file description (F_OFD_SETLK): it ends with the process however that ends, no other descriptor of the file ends it,
// and it can be asked about without being taken.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// Holds the lock as long as it lives. Children inherit it until they execute something.
class FileLock {
 public:
  // Makes the file, mode 0600, when it is missing; it stays when the lock is given up. Waits for `patience`: what a
  // killed process forked may have it for a moment longer. FailedPrecondition names the process that has it.
  static absl::StatusOr<FileLock> Take(absl::string_view path, absl::Duration patience = absl::ZeroDuration());

 private:
  explicit FileLock(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

// The process that has the lock, by its own word in the file; 0 when it has not written it yet. None when nobody has
// it. Takes nothing, and writes nothing.
absl::StatusOr<std::optional<pid_t>> HolderOfLock(absl::string_view path);

// "process 123 (berthd)", for messages about whom a pid names now.
std::string DescribeProcess(pid_t pid);

}  // namespace berth::sys
