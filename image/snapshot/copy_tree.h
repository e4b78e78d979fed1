// A copy of a directory tree with all that containers can see of it.
#pragma once

#include "runtime/base/status.h"

namespace berth::image {

// Copies what is in `from`, and its attributes, into the empty directory `to` (neither O_PATH). Kept are owners, modes,
// times, those extended attributes that layers may have, holes, hard links within the tree, symlinks as they are, and
// FIFOs, sockets and device nodes. No symlink is followed and no mount beneath `from` entered. ResourceExhausted: the
// tree is deeper than 256 directories. After an error `to` holds a part.
absl::Status CopyTree(int from, int to);

}  // namespace berth::image
