// Writes the index that makes a layer's archive mountable: an EROFS whose files' contents are where the archive has
// them. The file is
//
//   0       EROFS superblock (at 1024), the rest zero
//   4096    the archive, byte for byte
//           contents of sparse files, which an archive has in pieces
//           metadata: inodes, then directories and targets that do not fit into them
//
// so that one file is all there is to write, to sync and to remove.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "image/erofs/layer_tree.h"
#include "runtime/base/status.h"

namespace berth::image {

inline constexpr uint64_t kArchiveAt = 4096;

struct ErofsIndex {
  uint64_t at = 0;     // of the metadata
  uint64_t size = 0;   // bytes of it, to the end of the file
  std::string digest;  // of superblock and metadata (ErofsIndexDigest)
};

// Called before that many bytes are written; an error of it ends the writing.
using ClaimSpace = absl::FunctionRef<absl::Status(uint64_t bytes)>;

// Completes `file` (read-write), which has `archive_size` bytes of archive at kArchiveAt and nothing else. Uses the
// fields of `root` that are free for that. Not synced. ResourceExhausted: more than EROFS can address, or the disk is
// full. InvalidArgument: attributes of one file that take more than 256 KiB.
absl::StatusOr<ErofsIndex> WriteErofsIndex(int file, uint64_t archive_size, TreeNode& root, ClaimSpace claim);

// What `digest` has to be.
absl::StatusOr<std::string> ErofsIndexDigest(int file, uint64_t at, uint64_t size);

}  // namespace berth::image
