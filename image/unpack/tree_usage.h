// What a directory tree takes on disk.
#pragma once

#include <cstdint>

#include "runtime/base/status.h"

namespace berth::image {

struct TreeUsage {
  uint64_t bytes = 0;            // blocks in use, files with several names counted once
  uint64_t inodes = 0;           // the directory itself included
  uint64_t directory_bytes = 0;  // the part of `bytes` that directories take
};

// Walks the tree below the directory `dir` (not O_PATH), not crossing mounts, not following symlinks. What disappears
// meanwhile is skipped.
absl::StatusOr<TreeUsage> MeasureTree(int dir);

}  // namespace berth::image
