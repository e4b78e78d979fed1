// What the mounts of a request stand over, and with that the VOLUMEs of an image's configuration: which of them a
// container gets. Pure functions. What an image says is not to
// be trusted: the paths are cleaned as text here, and still have to be resolved inside the rootfs.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// The paths, cleaned, each once, parents before children. A path at which or above which the request mounts something
// is left out: what the user mounted is to hold the data. Errors as CheckVolumePath.
absl::StatusOr<std::vector<std::string>> ConfigVolumes(const std::vector<std::string>& declared,
                                                       const state::v1::ContainerSpec& spec);

// FailedPrecondition for what the runtime itself puts together: the root, /proc, /sys, /dev and all beneath them.
absl::Status CheckVolumePath(absl::string_view path);

// Whether a mount of the request stands at `path` or above it.
bool IsMountedOver(const state::v1::ContainerSpec& spec, absl::string_view path);

// The container path of a BIDIRECTIONAL mount of the request at `path` or above it, empty when there is none: whatever
// the runtime mounts there is mounted on the host too.
absl::string_view SharedMountAbove(const state::v1::ContainerSpec& spec, absl::string_view path);

}  // namespace berth::spec
