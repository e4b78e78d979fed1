// A file of an OCI artifact as a layer: the bytes of a blob become the only entry of an archive that is made up around
// them, so that the layer is unpacked, measured, committed and collected like any other.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "image/content/digest.h"
#include "image/unpack/layer_sink.h"
#include "runtime/base/status.h"

namespace berth::image {

// Used as a LayerSink is: one thread at a time, the first error is the last.
class FileLayer {
 public:
  // `blob` promises the file's digest and size. `path` is relative, without "..", and decides with the content what
  // the layer's diffID is. `sink` was made for a LayerBlob that promises nothing, and outlives the object.
  FileLayer(const LayerBlob& blob, std::string path, LayerSink* sink);

  // DataLoss: more bytes than promised. Other errors are the sink's.
  absl::Status Write(absl::string_view bytes);
  // Finishes the sink as well. DataLoss: too few bytes, or not those of the digest.
  absl::StatusOr<LayerResult> Finish();

 private:
  absl::Status Begin();

  const LayerBlob blob_;
  const std::string path_;
  LayerSink* const sink_;
  Hasher hasher_;
  uint64_t received_ = 0;
  bool begun_ = false;
};

}  // namespace berth::image
