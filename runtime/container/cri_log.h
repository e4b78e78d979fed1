// The log format of the Container Runtime Interface, as a codec: bytes of a stream in, lines out.
//   2026-01-02T03:04:05.678901234Z stdout F text
// A line longer than the encoder's bound is written in parts tagged P, its last part F; what a stream ends with without
// a newline is written tagged P. No bytes are lost or changed, except that a terminal's CR before LF is dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace berth::container {

class CriLogEncoder {
 public:
  // Bytes of text in one written line: what it is unless somebody asks for more or less, and the most.
  static constexpr size_t kDefaultContent = 16 << 10, kMaxContent = 1 << 20;
  static constexpr size_t kHeader = 40;  // time, stream and tag with their spaces
  static constexpr size_t kMaxLine = kHeader + kMaxContent + 1;

  // `stream` is "stdout" or "stderr". `terminal`: drop a CR before LF. `max_content`: 1 to kMaxContent.
  CriLogEncoder(absl::string_view stream, bool terminal, size_t max_content = kDefaultContent)
      : stream_(stream), terminal_(terminal), max_content_(max_content) {}

  // The longest line that this encoder writes.
  size_t max_line() const { return kHeader + max_content_ + 1; }
  // Takes bytes from the front of `input` and writes the lines that they complete to `out` (`size` >= max_line()), all
  // with the time `unix_ns`. Returns how many bytes were written; call again while `input` is not empty. The start of a
  // line that is not complete is kept.
  size_t Encode(absl::string_view& input, int64_t unix_ns, char* out, size_t size);
  // At the end of the stream: what was kept. At most max_line() bytes.
  size_t Finish(int64_t unix_ns, char* out);

  // How many of the container's own bytes `lines`, which encoders wrote, hold at `from` and behind: text, and the
  // newlines of whole lines.
  static size_t OwnBytes(absl::string_view lines, size_t from);

 private:
  struct Header {
    char text[kHeader];
  };
  Header MakeHeader(int64_t unix_ns) const;
  static size_t WriteLine(const Header& header, absl::string_view head, absl::string_view tail, char tag, char* out);

  absl::string_view stream_;
  bool terminal_;
  size_t max_content_;
  std::string kept_;  // at most max_content_
};

// "2026-01-02T03:04:05.678901234Z": 30 bytes, no terminator. `unix_ns` >= 0.
void FormatLogTime(int64_t unix_ns, char* out);

}  // namespace berth::container
