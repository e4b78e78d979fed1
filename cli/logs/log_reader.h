// The CRI log format: "TIME STREAM TAG TEXT\n" a line, TAG being P for a piece of a longer line and F for its end.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/status.h"

namespace berth::cli {

// A line that the container wrote, in the order in which lines end.
struct LogLine {
  absl::Time time;              // of its first piece; InfiniteFuture for what is not in the format
  absl::string_view time_text;  // as in the file; empty for what is not in the format
  bool is_stderr = false;
  // False for what goes on in the next LogLine of the same stream (a line of more than LogReader::kMaxLine), and for
  // what the stream ended with.
  bool begins = true, ends = true;
  absl::string_view text;  // without a line break; valid during the call
};
using LogSink = std::function<void(const LogLine&)>;

// Takes the bytes of a log's files, in blocks of any size, and puts the pieces of lines together. A line that is not in
// the format is passed on whole, as text of stdout.
class LogReader {
 public:
  static constexpr size_t kMaxLine = 1 << 20;

  explicit LogReader(LogSink sink) : sink_(std::move(sink)) {}
  void Feed(absl::string_view bytes);
  // At the end of each file: a line that lacks its line break (the writer was cut off) is taken as it is.
  void EndOfFile();
  // At the end of the log: passes on what has no end.
  void Finish();
  // Leaves out everything up to and with the `ends`th end of a line from here on.
  void Skip(int64_t ends) { skip_ = ends; }

 private:
  struct Unfinished {
    bool begins = true;
    absl::Time time;
    std::string time_text, text;
  };
  void Piece(absl::string_view line);
  void Pass(bool is_stderr, bool ends, absl::string_view more);

  LogSink sink_;
  int64_t skip_ = 0;
  std::string rest_;
  Unfinished streams_[2];  // stdout, stderr
};

// The last lines of a file.
struct LogTail {
  int64_t offset = 0;  // where they begin
  int64_t lines = 0;   // how many: fewer than asked for when the file has fewer, and offset is 0
};
// Of the file open at `fd`, counting lines that the container wrote, not their pieces; pieces without an end at the end
// of the file are one.
absl::StatusOr<LogTail> FindTail(int fd, int64_t lines);

}  // namespace berth::cli
