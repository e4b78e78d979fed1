// Attributes of the files of a layer, as the kernel would have set them. Pure functions.
#pragma once

#include "image/erofs/layer_tree.h"
#include "image/unpack/tar_parser.h"
#include "runtime/base/status.h"

namespace berth::image {

// Owner, mode, time and those extended attributes that a layer may set and that such a file can have; the mark that a
// directory is opaque stays, and it counts as described. InvalidArgument: an attribute that setxattr(2) refuses, a
// malformed POSIX ACL or file capability.
absl::Status SetNodeAttributes(const TarEntry& entry, TreeNode& node);

}  // namespace berth::image
