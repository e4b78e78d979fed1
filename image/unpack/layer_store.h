// Layers by diffID, whatever image they came with. The interface is what pulls and snapshots need; how a layer is kept
// on disk is behind it.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "image/unpack/layer_options.h"
#include "image/unpack/layer_sink.h"
#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// How a layer is kept.
enum class LayerFormat {
  kDirectory,  // a tree of files
  kErofs,      // its archive in one file with an index, which the kernel mounts
};

struct LayerInfo {
  std::string diff_id;
  uint64_t bytes = 0;  // on disk
  uint64_t inodes = 0;
  std::vector<std::string> implied_parents;  // as in LayerResult
  LayerFormat format = LayerFormat::kDirectory;
  uint64_t archive_size = 0;  // bytes of its archive, when the format keeps it
  struct {
    uint64_t at = 0, size = 0;  // ErofsIndex
    std::string digest;
  } index;
  std::string blob_digest;  // of the blob that it came from, if that was kept
  uint64_t blob_size = 0;
};

// A blob as the registry sent it.
struct KeptBlob {
  std::string digest;
  uint64_t size = 0;
  sys::UniqueFd file;
};

class LayerStore {
 public:
  struct Usage {
    uint64_t bytes = 0;
    uint64_t inodes = 0;
  };

  // ROOT/layers/<hex of diffID>/{meta.json, layer.erofs or fs, blob}. Makes what is missing; removes what an
  // interrupted unpack or removal left. A damaged layer is as if absent (see Problems) and replaced by the next commit
  // of it. FailedPrecondition when EROFS is demanded and does not work here.
  static absl::StatusOr<std::unique_ptr<LayerStore>> Open(absl::string_view root,
                                                          const LayerStoreOptions& options = {});
  virtual ~LayerStore() = default;

  // InvalidArgument for malformed digests. Two sinks for one diffID may run at once; the second commit changes nothing.
  // The store must outlive its sinks.
  virtual absl::StatusOr<std::unique_ptr<LayerSink>> NewSink(const LayerBlob& blob,
                                                             const UnpackLimits& limits = {}) = 0;

  // Makes finished sinks of this store into layers; after OK they survive a power cut. FailedPrecondition when a sink
  // is not finished. On an error some may have been committed, never half of one; the rest is discarded.
  virtual absl::Status Commit(std::vector<std::unique_ptr<LayerSink>> sinks) = 0;

  virtual bool Has(absl::string_view diff_id) const = 0;
  // NotFound when there is none.
  virtual absl::StatusOr<LayerInfo> Info(absl::string_view diff_id) const = 0;
  // The layer's root, O_PATH, fit to be a lower directory of overlayfs. It may be the root of a detached mount, which
  // lives as long as the descriptor does. NotFound when there is none. DataLoss when its index does not have the digest
  // that it was written with: the layer is as if absent from then on.
  virtual absl::StatusOr<sys::UniqueFd> OpenLayer(absl::string_view diff_id) const = 0;
  // The layer's archive, byte for byte, in pieces: what hashes to its diffID. An error of `output` ends it and is
  // returned. NotFound when there is none; FailedPrecondition when the format does not keep it; DataLoss when what was
  // read does not have the diffID (found at the end).
  virtual absl::Status ReadArchive(absl::string_view diff_id,
                                   absl::FunctionRef<absl::Status(absl::string_view)> output) const = 0;
  // The blob that the layer came from. NotFound when there is no such layer, or its blob was not kept.
  virtual absl::StatusOr<KeptBlob> OpenBlob(absl::string_view diff_id) const = 0;
  // OK when there is none. Nothing may be mounted over the layer any more; that is for the caller to know.
  virtual absl::Status Remove(absl::string_view diff_id) = 0;
  // DiffIDs, sorted.
  virtual std::vector<std::string> List() const = 0;
  // What all layers take on disk: a sum that is kept.
  virtual Usage Total() const = 0;
  // What was found damaged, for the log.
  virtual std::vector<std::string> Problems() const = 0;
  // Of new layers.
  virtual LayerFormat Format() const = 0;
  // Why that is not EROFS; empty when it is, or was asked for.
  virtual std::string FormatReason() const = 0;
};

}  // namespace berth::image
