#include "cli/stream/local_io.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace berth::cli::stream {
namespace {

// What a pipe takes for sure when poll(2) says that it is writable: it has one page free.
constexpr size_t kSureWrite = 4096;

bool Writable(int fd) {
  pollfd one = {fd, POLLOUT, 0};
  return poll(&one, 1, 0) > 0;
}

}  // namespace

FdKind KindOf(int fd) {
  struct stat st;
  if (fstat(fd, &st) != 0) return FdKind::kOther;
  if (S_ISSOCK(st.st_mode)) return FdKind::kSocket;
  return S_ISREG(st.st_mode) ? FdKind::kFile : FdKind::kOther;
}

absl::StatusOr<size_t> ReadReady(int fd, char* buffer, size_t size) {
  ssize_t n = read(fd, buffer, size);
  if (n > 0) return static_cast<size_t>(n);
  if (n == 0 || errno == EIO) return absl::OutOfRangeError("end");
  if (errno == EAGAIN || errno == EINTR) return 0;
  return ErrnoError(errno, "read");
}

absl::StatusOr<size_t> WriteReady(int fd, FdKind kind, absl::string_view bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    absl::string_view rest = bytes.substr(written);
    ssize_t n;
    if (kind == FdKind::kSocket) {
      n = send(fd, rest.data(), rest.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
      if (kind == FdKind::kOther) {
        if (!Writable(fd)) break;
        rest = rest.substr(0, kSureWrite);
      }
      n = write(fd, rest.data(), rest.size());
    }
    if (n >= 0) {
      written += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return ErrnoError(errno, "write");
    }
  }
  return written;
}

}  // namespace berth::cli::stream
