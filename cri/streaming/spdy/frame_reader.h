// Cuts a connection's bytes into frames: control frames whole, data frames in the pieces that they come in.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "cri/streaming/spdy/frame.h"
#include "runtime/base/status.h"

namespace berth::streaming::spdy {

class FrameReader {
 public:
  explicit FrameReader(size_t max_control) : max_control_(max_control) {}

  struct Part {
    FrameHeader header;
    absl::string_view payload;  // valid until the next call, and no longer than the bytes
    bool first = false;         // of its frame; always for a control frame, as is `last`
    bool last = false;
  };
  // The next part, taken off the front of `bytes`; nothing when all of them are taken and more are needed. Control
  // frames of types that nobody knows are passed over. After an error (another version, or a frame that is longer than
  // allowed) it must not be called again.
  absl::StatusOr<std::optional<Part>> Next(absl::string_view& bytes);

 private:
  absl::StatusOr<std::optional<Part>> Control(absl::string_view& bytes);
  std::optional<Part> Data(absl::string_view& bytes);
  bool Gather(absl::string_view& bytes, size_t wanted);

  const size_t max_control_;
  std::string gathered_;   // of a header, or of a control frame's payload, that is not complete
  std::string whole_;      // the payload that was returned last, if it had to be gathered
  bool in_frame_ = false;  // header_ holds, and its payload is not all there
  FrameHeader header_;
  uint32_t left_ = 0;   // of a payload that is passed on or passed over as it comes
  bool first_ = false;  // nothing of a data frame has been returned
};

}  // namespace berth::streaming::spdy
