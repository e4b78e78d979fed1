// The options of a volume as the kernel knows them. Pure functions.
#pragma once

#include <cstdint>

#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// Mount.mount_options as MOUNT_ATTR_*; given twice is given once. InvalidArgument, naming the field, for any other than
// noexec, nodev and nosuid.
absl::StatusOr<uint64_t> MountAttrs(const state::v1::Mount& mount);

}  // namespace berth::spec
