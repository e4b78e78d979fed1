// A LayerSink that hashes, decompresses, hashes, parses and builds in one pass on one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "image/content/digest.h"
#include "image/unpack/decompressor.h"
#include "image/unpack/layer_builder.h"
#include "image/unpack/layer_sink.h"
#include "image/unpack/tar_parser.h"
#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

class LayerReceiver : public LayerSink {
 public:
  struct Options {
    LayerFormat format = LayerFormat::kDirectory;
    bool keep_blob = false;
  };

  // Makes a directory in `staging`, which must stay open.
  static absl::StatusOr<std::unique_ptr<LayerReceiver>> Create(int staging, const LayerBlob& blob,
                                                               const UnpackLimits& limits, const Options& options);
  ~LayerReceiver() override;

  absl::Status Write(absl::string_view compressed) override;
  absl::StatusOr<LayerResult> Finish() override;

  int staging() const { return staging_; }
  const std::string& name() const { return name_; }
  bool finished() const { return finished_; }
  bool synced() const { return builder_->Synced(); }
  const LayerInfo& info() const { return info_; }
  // The directory was moved elsewhere: nothing to discard any more.
  void Release() { name_.clear(); }

 private:
  LayerReceiver(int staging, const LayerBlob& blob, const UnpackLimits& limits, std::string name, sys::UniqueFd dir,
                std::unique_ptr<LayerBuilder> builder);

  absl::Status Receive(absl::string_view compressed);
  absl::Status Plain(absl::string_view bytes);
  absl::Status Complete();
  absl::Status CompleteBlob();
  absl::Status WriteRecord();

  const int staging_;
  const LayerBlob blob_;
  const UnpackLimits limits_;
  std::string name_;
  sys::UniqueFd dir_;
  sys::UniqueFd blob_file_;  // when the blob is kept
  Hasher blob_hash_, diff_hash_;
  uint64_t received_ = 0;  // compressed bytes
  uint64_t plain_ = 0;     // uncompressed ones
  Decompressor decompressor_;
  std::unique_ptr<LayerBuilder> builder_;
  TarParser parser_;
  absl::Status status_;  // the first error
  bool finished_ = false;
  LayerInfo info_;
};

}  // namespace berth::image
