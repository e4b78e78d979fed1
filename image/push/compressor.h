// A layer's compression, the other way from unpack/decompressor.h: plain bytes in, compressed bytes out. The same bytes
// give the same result however they are cut into pieces: no time, no name, one fixed level. Another version of the
// libraries, and for gzip another kind of processor, may give another.
// Not thread-safe.
#pragma once

#include <memory>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

enum class Compression { kNone, kGzip, kZstd };

// "gzip" (also for "") or "zstd". InvalidArgument for others.
absl::StatusOr<Compression> ParseCompression(absl::string_view name);
absl::string_view CompressionName(Compression compression);  // "none", "gzip", "zstd"

class Compressor {
 public:
  // Takes the next compressed bytes; an error of it ends the compression and is returned as it is.
  using Output = absl::FunctionRef<absl::Status(absl::string_view compressed)>;

  explicit Compressor(Compression compression);
  ~Compressor();

  // ResourceExhausted: no memory. Internal: the library failed.
  absl::Status Write(absl::string_view plain, Output output);
  absl::Status Finish(Output output);

  // One format's encoder, which is given pieces of kPiece bytes, and at last one that may be shorter.
  class Codec {
   public:
    virtual ~Codec() = default;
    virtual absl::Status Write(absl::string_view plain, bool last, Output output) = 0;
  };

 private:
  std::unique_ptr<Codec> codec_;
  std::string piece_;  // a piece being filled: what goes into the library must not depend on how the bytes came
};

}  // namespace berth::image
