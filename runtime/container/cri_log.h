// The log format of the Container Runtime Interface, as a codec: bytes of a stream in, lines out.
//   2026-01-02T03:04:05.678901234Z stdout F text
// A line longer than kMaxContent is written in parts tagged P, its last part F; what a stream ends with without a
// newline is written tagged P. No bytes are lost or changed, except that a terminal's CR before LF is dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace berth::container {

class CriLogEncoder {
 public:
  static constexpr size_t kMaxContent = 16 * 1024;  // bytes of text in one written line
  static constexpr size_t kMaxLine = kMaxContent + 64;

  // `stream` is "stdout" or "stderr". `terminal`: drop a CR before LF.
  CriLogEncoder(absl::string_view stream, bool terminal) : stream_(stream), terminal_(terminal) {}

  // Takes bytes from the front of `input` and writes the lines that they complete to `out` (`size` >= kMaxLine), all
  // with the time `unix_ns`. Returns how many bytes were written; call again while `input` is not empty. The start of a
  // line that is not complete is kept.
  size_t Encode(absl::string_view& input, int64_t unix_ns, char* out, size_t size);
  // At the end of the stream: what was kept. At most kMaxLine bytes.
  size_t Finish(int64_t unix_ns, char* out);

 private:
  size_t WriteLine(absl::string_view head, absl::string_view tail, char tag, int64_t unix_ns, char* out) const;

  absl::string_view stream_;
  bool terminal_;
  std::string kept_;  // at most kMaxContent
};

// "2026-01-02T03:04:05.678901234Z": 30 bytes, no terminator. `unix_ns` >= 0.
void FormatLogTime(int64_t unix_ns, char* out);

}  // namespace berth::container
