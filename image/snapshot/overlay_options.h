// How an overlay mount is asked for. Pure functions.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "runtime/sys/mount.h"

namespace berth::image {

// How the kernel lets lower directories be given, best first.
enum class LowerStyle {
  kDescriptors,  // one "lowerdir+" each, by descriptor (Linux 6.13)
  kPaths,        // one "lowerdir+" each, by path (Linux 6.8)
  kJoined,       // one "lowerdir" for all, of at most 255 bytes: some twenty layers
};

// Whether a mount failed with this errno because the kernel does not know its style: EINVAL, and before Linux 6.5,
// whose overlayfs takes its options as one string, EOPNOTSUPP for a descriptor.
bool IsUnknownStyle(int error);

// `lowers` topmost first. Without an upper directory (-1, and then none for `work`) the mount is read-only and takes at
// least two lower ones. All descriptors may be O_PATH and must stay open until the mount is made.
std::vector<sys::FsOption> OverlayOptions(absl::Span<const int> lowers, int upper, int work, LowerStyle style);

}  // namespace berth::image
