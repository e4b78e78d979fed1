// Looks at the free space now and then while something is written.
#pragma once

#include <cstdint>

#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"

namespace berth::image {

// Not thread-safe.
class DiskSpace {
 public:
  // `fd` is anything on the file system, and stays open.
  DiskSpace(int fd, const UnpackLimits& limits) : fd_(fd), limits_(limits) {}

  // To be called before `bytes` are written. ResourceExhausted when less than the limits say is left.
  absl::Status Claim(uint64_t bytes);

 private:
  const int fd_;
  const UnpackLimits limits_;
  uint64_t until_check_ = 0;  // bytes, roughly
};

}  // namespace berth::image
