// A LayerSink that unpacks into a directory: hash, decompress, hash, parse and write in one pass on one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "image/content/digest.h"
#include "image/unpack/decompressor.h"
#include "image/unpack/layer_applier.h"
#include "image/unpack/layer_sink.h"
#include "image/unpack/tar_parser.h"
#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// Below the staging directory, NAME/fs is the layer's root. The file NAME/meta.json is the record of it.
inline constexpr char kLayerRoot[] = "fs";
inline constexpr char kLayerRecord[] = "meta.json";

class DirLayerSink : public LayerSink {
 public:
  // Makes a directory in `staging`, which must stay open.
  static absl::StatusOr<std::unique_ptr<DirLayerSink>> Create(int staging, const LayerBlob& blob,
                                                              const UnpackLimits& limits);
  ~DirLayerSink() override;

  absl::Status Write(absl::string_view compressed) override;
  absl::StatusOr<LayerResult> Finish() override;

  int staging() const { return staging_; }
  const std::string& name() const { return name_; }
  bool finished() const { return finished_; }
  const LayerResult& result() const { return result_; }
  // The directory was moved elsewhere: nothing to discard any more.
  void Release() { name_.clear(); }

 private:
  DirLayerSink(int staging, const LayerBlob& blob, const UnpackLimits& limits, std::string name, sys::UniqueFd dir,
               sys::UniqueFd root);

  absl::Status Receive(absl::string_view compressed);
  absl::Status Plain(absl::string_view bytes);
  absl::Status Complete();

  const int staging_;
  const LayerBlob blob_;
  const UnpackLimits limits_;
  std::string name_;
  sys::UniqueFd dir_;
  sys::UniqueFd root_;
  Hasher blob_hash_, diff_hash_;
  uint64_t received_ = 0;  // compressed bytes
  uint64_t plain_ = 0;     // uncompressed ones
  Decompressor decompressor_;
  LayerApplier applier_;
  TarParser parser_;
  absl::Status status_;  // the first error
  bool finished_ = false;
  LayerResult result_;
};

}  // namespace berth::image
