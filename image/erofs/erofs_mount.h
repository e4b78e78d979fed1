// Mounts of a layer's file, without a loop device (Linux 6.12, CONFIG_EROFS_FS_BACKED_BY_FILE).
#pragma once

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// A detached read-only mount of the EROFS in `file`. It holds the file.
absl::StatusOr<sys::UniqueFd> MountErofs(int file);

// Whether layers can be kept that way in the file system of the directory `dir`: by making one, mounting it, and
// stacking an overlay on it. The error says at what it failed.
absl::Status TryErofs(int dir);

}  // namespace berth::image
