// Reading and writing descriptors that are not ours to make non-blocking: stdin, stdout and stderr are shared with
// whoever started us, and O_NONBLOCK would be theirs, too.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cli::stream {

enum class FdKind {
  kSocket,
  kFile,   // regular: never blocks for long
  kOther,  // pipes, terminals, devices
};
FdKind KindOf(int fd);

// After poll(2) has said that it is readable: what is there. OutOfRange at the end; a terminal that hung up has ended.
// 0 when there is nothing after all.
absl::StatusOr<size_t> ReadReady(int fd, char* buffer, size_t size);

// Writes as much as it takes without blocking; 0 when it takes nothing now. Raises SIGPIPE only for pipes, and only if
// it is not ignored.
absl::StatusOr<size_t> WriteReady(int fd, FdKind kind, absl::string_view bytes);

}  // namespace berth::cli::stream
