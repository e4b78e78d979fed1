#include "cli/logs/log_reader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"

namespace berth::cli {
namespace {

constexpr size_t kMaxRecord = LogReader::kMaxLine + 128;  // what is longer is no CRI log

// A line of the file.
struct LogPiece {
  absl::Time time = absl::InfiniteFuture();
  absl::string_view time_text;
  bool is_stderr = false, ends = true;
  absl::string_view text;
};

// Takes the word in front of the next space.
bool TakeWord(absl::string_view& line, absl::string_view& word) {
  size_t space = line.find(' ');
  if (space == absl::string_view::npos) return false;
  word = line.substr(0, space);
  line.remove_prefix(space + 1);
  return true;
}

bool ParsePiece(absl::string_view line, LogPiece& piece) {
  absl::string_view stream, tag;
  if (!TakeWord(line, piece.time_text) || !TakeWord(line, stream) || !TakeWord(line, tag)) return false;
  if (!absl::ParseTime(absl::RFC3339_full, piece.time_text, &piece.time, nullptr)) return false;
  if (stream != "stdout" && stream != "stderr") return false;
  // More tags may follow, separated by colons.
  absl::string_view first = tag.substr(0, tag.find(':'));
  if (first != "P" && first != "F") return false;
  piece.is_stderr = stream == "stderr";
  piece.ends = first == "F";
  piece.text = line;
  return true;
}

bool IsPartial(absl::string_view line) {
  LogPiece piece;
  return ParsePiece(line, piece) && !piece.ends;
}

absl::StatusOr<std::string> ReadAt(int fd, int64_t offset, size_t size) {
  std::string block(size, '\0');
  size_t got = 0;
  while (got < size) {
    ssize_t n = pread(fd, block.data() + got, size - got, offset + static_cast<int64_t>(got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "read log");
    if (n == 0) break;
    got += static_cast<size_t>(n);
  }
  block.resize(got);
  return block;
}

}  // namespace

void LogReader::Pass(bool is_stderr, bool ends, absl::string_view more) {
  Unfinished& stream = streams_[is_stderr ? 1 : 0];
  if (!stream.text.empty()) stream.text.append(more.data(), more.size());
  sink_({stream.time, stream.time_text, is_stderr, stream.begins, ends, stream.text.empty() ? more : stream.text});
  stream.text.clear();
  stream.begins = ends;
}

void LogReader::Piece(absl::string_view line) {
  LogPiece piece;
  if (!ParsePiece(line, piece)) {
    piece = LogPiece();
    piece.text = line;
  }
  if (skip_ > 0) {
    if (piece.ends) --skip_;
    return;
  }
  // What is not in the format stands between the pieces of a line, not within it.
  if (piece.time_text.empty()) return sink_({piece.time, "", false, true, true, piece.text});
  Unfinished& stream = streams_[piece.is_stderr ? 1 : 0];
  if (stream.begins && stream.text.empty()) {
    stream.time = piece.time;
    stream.time_text.assign(piece.time_text.data(), piece.time_text.size());
  }
  if (piece.ends) {
    Pass(piece.is_stderr, true, piece.text);
  } else if (stream.text.size() + piece.text.size() > kMaxLine) {
    Pass(piece.is_stderr, false, piece.text);
  } else {
    stream.text.append(piece.text.data(), piece.text.size());
  }
}

void LogReader::Feed(absl::string_view bytes) {
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    if (end == absl::string_view::npos) {
      rest_.append(bytes.data(), bytes.size());
      if (rest_.size() > kMaxRecord) EndOfFile();
      return;
    }
    if (rest_.empty()) {
      Piece(bytes.substr(0, end));
    } else {
      rest_.append(bytes.data(), end);
      Piece(rest_);
      rest_.clear();
    }
    bytes.remove_prefix(end + 1);
  }
}

void LogReader::EndOfFile() {
  if (rest_.empty()) return;
  Piece(rest_);
  rest_.clear();
}

void LogReader::Finish() {
  EndOfFile();
  for (bool is_stderr : {false, true}) {
    if (!streams_[is_stderr ? 1 : 0].text.empty()) Pass(is_stderr, false, "");
  }
}

absl::StatusOr<LogTail> FindTail(int fd, int64_t lines) {
  constexpr int64_t kBlock = 64 << 10;
  struct stat st;
  if (fstat(fd, &st) != 0) return ErrnoError(errno, "stat log");
  int64_t begin = st.st_size;  // of what has been looked at
  LogTail result{begin, 0};
  if (lines <= 0) return result;
  std::string tail;  // from `begin` on: the line whose start is not known yet
  // Backwards; a complete line in `tail` is one between two line breaks.
  while (begin > 0) {
    int64_t from = std::max<int64_t>(0, begin - kBlock);
    ASSIGN_OR_RETURN(std::string block, ReadAt(fd, from, static_cast<size_t>(begin - from)));
    tail.insert(0, block);
    begin = from;
    for (;;) {
      size_t last = tail.size();
      if (last > 0 && tail[last - 1] == '\n') --last;
      size_t before = last == 0 ? std::string::npos : tail.rfind('\n', last - 1);
      if (before == std::string::npos && begin > 0) break;  // its start is in an earlier block
      size_t start = before == std::string::npos ? 0 : before + 1;
      if (start == tail.size()) break;
      bool partial = IsPartial(absl::string_view(tail).substr(start, last - start));
      // A piece belongs to the line whose end comes after it; at the very end of the file it is a line of its own.
      if (!partial || result.lines == 0) {
        if (result.lines == lines) return result;
        ++result.lines;
      }
      result.offset = begin + static_cast<int64_t>(start);
      tail.resize(start);
    }
  }
  return result;
}

}  // namespace berth::cli
