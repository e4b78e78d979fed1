// The CRI log format: "TIME STREAM TAG TEXT\n" a line, TAG being P for a piece of a longer line and F for its end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::cli {

// A piece of what the container wrote, in the order of the file. Pieces of one line follow each other within their
// stream; `begins` and `ends` mark its first and its last.
struct LogPiece {
  absl::Time time;
  absl::string_view time_text;  // as in the file; empty for a line that is not in the format
  bool is_stderr = false;
  bool begins = true, ends = true;
  absl::string_view text;  // without a line break; valid during the call
};
using LogSink = std::function<void(const LogPiece&)>;

// Takes the file in blocks of any size. A line that is not in the format is passed on whole, as text of stdout.
class LogReader {
 public:
  explicit LogReader(LogSink sink) : sink_(std::move(sink)) {}
  void Feed(absl::string_view bytes);
  // At the end of a file: a line that lacks its line break (the writer was cut off) is passed on as it is.
  void Finish();

 private:
  void Line(absl::string_view line);

  LogSink sink_;
  std::string rest_;
  bool inside_[2] = {false, false};  // stdout, stderr: the last piece was not the end of its line
};

// Where in the file open at `fd` its last `lines` lines begin, counting those that the container wrote, not their
// pieces. 0 when it has fewer.
absl::StatusOr<int64_t> TailOffset(int fd, int64_t lines);

}  // namespace berth::cli
