// A layer's compression, as a codec: compressed bytes in, plain bytes out. It knows no files.
// gzip (RFC 1952, several members, header and trailer checked), zstd (RFC 8878, several and skippable frames), or none.
// Not thread-safe.
#pragma once

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

class Decompressor {
 public:
  // Takes the next plain bytes; an error of it ends the decompression and is returned as it is.
  using Output = absl::FunctionRef<absl::Status(absl::string_view plain)>;

  Decompressor();
  ~Decompressor();

  // DataLoss: the stream is damaged, or something else follows it. Unimplemented: bzip2 or xz.
  absl::Status Write(absl::string_view compressed, Output output);
  // DataLoss when the stream ends too early.
  absl::Status Finish(Output output);

  // One format's decoder.
  class Codec {
   public:
    virtual ~Codec() = default;
    virtual absl::Status Write(absl::string_view compressed, Output output) = 0;
    virtual absl::Status Finish() = 0;
  };

 private:
  absl::Status Choose(Output output);

  std::string head_;  // until the format is known
  std::unique_ptr<Codec> codec_;
};

}  // namespace berth::image
