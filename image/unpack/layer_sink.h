// The receiving end of one layer's download: compressed bytes go in as they arrive, a layer on disk comes out.
// Nothing is spooled and nothing is read twice.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

// What the manifest and the config promise about a layer. Without a digest, bytes are taken as they come; without a
// diffID, the layer gets the one that it turns out to have.
struct LayerBlob {
  std::string digest;   // of the compressed bytes
  uint64_t size = 0;    // compressed bytes, exactly
  std::string diff_id;  // digest of the uncompressed tar
};

struct LayerResult {
  std::string diff_id;
  uint64_t blob_size = 0;       // compressed bytes
  uint64_t unpacked_bytes = 0;  // on disk, whatever the format
  uint64_t inodes = 0;
  // Directories that the layer uses without describing them, relative to its root ("" is the root itself), sorted.
  // They have mode 0755 and owner 0:0 until something that knows the lower layers repairs them.
  std::vector<std::string> implied_parents;
};

// One thread at a time uses a sink; several sinks at once in different threads are fine. The first error sticks:
// later calls return it again. Destroying a sink whose layer was not committed discards all that it wrote.
class LayerSink {
 public:
  virtual ~LayerSink() = default;

  // Bytes in any portions, in order. The compression (gzip, zstd, none) is told from the first bytes.
  // DataLoss: more bytes than promised, or the compressed stream is damaged. InvalidArgument: the archive is malformed
  // or hostile (the message names the entry). ResourceExhausted: a limit of UnpackLimits or the disk.
  // Unimplemented: a compression or archive feature that is not supported.
  virtual absl::Status Write(absl::string_view compressed) = 0;

  // After the last byte. DataLoss: too few bytes, or the digest or diffID is not what was promised. After OK the layer
  // is complete but neither durable nor visible: hand the sink to LayerStore::Commit.
  virtual absl::StatusOr<LayerResult> Finish() = 0;
};

}  // namespace berth::image
