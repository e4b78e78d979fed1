#include "image/content/read_range.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace berth::image {
namespace {

constexpr size_t kPiece = 256 << 10;

}  // namespace

absl::Status ReadRange(int file, uint64_t offset, uint64_t size, absl::string_view name,
                       absl::FunctionRef<absl::Status(absl::string_view bytes)> output) {
  std::string buffer(std::min<uint64_t>(kPiece, size), '\0');
  while (size > 0) {
    ssize_t n = pread(file, buffer.data(), std::min<uint64_t>(buffer.size(), size), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, absl::StrCat("read of ", name));
    if (n == 0) return absl::DataLossError(absl::StrCat(name, " is too short"));
    RETURN_IF_ERROR(output(absl::string_view(buffer.data(), static_cast<size_t>(n))));
    offset += static_cast<uint64_t>(n);
    size -= static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

}  // namespace berth::image
