// What makes a layer on disk out of its archive, in one of the formats. It has a directory of its own to write into.
// Not thread-safe.
#pragma once

#include <memory>

#include "absl/strings/string_view.h"
#include "image/unpack/layer_store.h"
#include "image/unpack/tar_parser.h"
#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"

namespace berth::image {

class LayerBuilder {
 public:
  virtual ~LayerBuilder() = default;

  // Receives the archive's entries.
  virtual TarVisitor& Visitor() = 0;
  // The archive's bytes, before what is in them is visited. Those after its last entry, too.
  virtual absl::Status Archive(absl::string_view) { return absl::OkStatus(); }
  // After the last byte: completes the layer and the parts of `info` that are the format's.
  virtual absl::Status Finish(LayerInfo& info) = 0;
  // What has to be on disk is: the store syncs the file system for all its layers when a format leaves that to it.
  virtual bool Synced() const = 0;
};

// A tree of files below DIR/fs. `dir` stays open.
absl::StatusOr<std::unique_ptr<LayerBuilder>> NewDirectoryBuilder(int dir, const UnpackLimits& limits);
// One file, DIR/layer.erofs (erofs_writer.h).
absl::StatusOr<std::unique_ptr<LayerBuilder>> NewErofsBuilder(int dir, const UnpackLimits& limits);

// Names in a layer's directory.
inline constexpr char kLayerRoot[] = "fs";
inline constexpr char kLayerFile[] = "layer.erofs";
inline constexpr char kLayerRecord[] = "meta.json";
inline constexpr char kLayerBlob[] = "blob";

}  // namespace berth::image
