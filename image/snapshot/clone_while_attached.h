// A clone of a part of a detached mount, for kernels that clone only what is attached (before Linux 6.15).
#pragma once

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// A detached clone of the directory `found`, which lies in the detached mount `mount`. For the moment that it takes,
// the mount is attached to the directory `spare`, which nobody else may use for that meanwhile.
absl::StatusOr<sys::UniqueFd> CloneWhileAttached(int mount, int found, int spare);

}  // namespace berth::image
