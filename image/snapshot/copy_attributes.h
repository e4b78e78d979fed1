// The attributes of a file or directory, carried over to another one.
#pragma once

#include "runtime/base/status.h"

namespace berth::image {

// Owner, mode, mtime and those extended attributes that layers may have (entry_attributes.h). `from` may be O_PATH,
// `to` must not be.
absl::Status CopyAttributes(int from, int to);

}  // namespace berth::image
