// Bounds on what one layer may make of its compressed bytes.
#pragma once

#include <cstdint>

namespace berth::image {

struct UnpackLimits {
  uint64_t max_bytes = uint64_t{128} << 30;  // of the uncompressed tar, and of any one (sparse) file
  uint64_t max_entries = 4'000'000;
  // Uncompressed to compressed, looked at once ratio_from bytes came out. deflate cannot exceed 1032.
  uint64_t max_ratio = 1500;
  uint64_t ratio_from = uint64_t{1} << 30;
  // What must stay free on the file system.
  uint64_t min_free_bytes = uint64_t{256} << 20;
  uint64_t min_free_inodes = 4096;
};

}  // namespace berth::image
