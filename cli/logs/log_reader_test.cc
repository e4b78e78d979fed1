#include "cli/logs/log_reader.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

std::string Record(absl::string_view stream, absl::string_view tag, absl::string_view text) {
  return absl::StrCat("2026-01-31T12:00:00.000000001Z ", stream, " ", tag, " ", text, "\n");
}

std::string Joined(absl::string_view file, size_t block, int64_t skip = 0) {
  std::string out;
  LogReader reader([&](const LogLine& line) {
    absl::StrAppend(&out, line.begins ? "<" : "", line.is_stderr ? "e:" : "", line.text, line.ends ? ">" : "");
  });
  reader.Skip(skip);
  for (size_t i = 0; i < file.size(); i += block) reader.Feed(file.substr(i, block));
  reader.Finish();
  return out;
}

TEST(LogReader, JoinsPiecesPerStreamWhateverTheBlocks) {
  std::string file = Record("stdout", "P", "ab") + Record("stderr", "F", "x") + Record("stdout", "P", "c") +
                     Record("stdout", "F", "") + Record("stdout", "F:more", "d  e");
  for (size_t block : {1, 2, 7, 1000}) EXPECT_EQ(Joined(file, block), "<e:x><abc><d  e>") << block;
}

TEST(LogReader, TheTimeOfALineIsThatOfItsFirstPiece) {
  std::string times;
  LogReader reader([&](const LogLine& line) { absl::StrAppend(&times, line.time_text, "|"); });
  reader.Feed(
      "2026-01-31T12:00:01Z stdout P a\n2026-01-31T12:00:02Z stderr P b\n2026-01-31T12:00:03Z stdout F c\n"
      "2026-01-31T12:00:04Z stderr F d\n2026-01-31T12:00:05Z stdout F e\n");
  EXPECT_EQ(times, "2026-01-31T12:00:01Z|2026-01-31T12:00:02Z|2026-01-31T12:00:05Z|");
}

TEST(LogReader, PassesOnWhatIsNotInTheFormat) {
  for (const char* line : {"plain", "", "2026 stdout F x", "2026-01-31T12:00:00Z stdin F x",
                           "2026-01-31T12:00:00Z stdout X x", "2026-01-31T12:00:00Z stdout F"}) {
    EXPECT_EQ(Joined(absl::StrCat(line, "\n"), 100), absl::StrCat("<", line, ">"));
  }
  EXPECT_EQ(Joined(Record("stdout", "P", "a") + "torn\n" + Record("stdout", "F", "b"), 100), "<torn><ab>");
}

TEST(LogReader, WhatHasNoEnd) {
  EXPECT_EQ(Joined("2026-01-31T12:00:00Z stdout F half", 100), "<half>");
  EXPECT_EQ(Joined(Record("stderr", "P", "a") + Record("stdout", "P", "b"), 100), "<b<e:a");
}

TEST(LogReader, ALineWithoutBoundComesInParts) {
  const std::string piece(16384, 'x');
  std::string file, text;
  for (int i = 0; i < 200; ++i) file += Record("stdout", "P", piece);
  file += Record("stdout", "F", "end");
  size_t parts = 0, begins = 0, ends = 0;
  LogReader reader([&](const LogLine& line) {
    ++parts;
    begins += line.begins;
    ends += line.ends;
    EXPECT_LE(line.text.size(), LogReader::kMaxLine + piece.size());
    absl::StrAppend(&text, line.text);
  });
  reader.Feed(file);
  EXPECT_EQ(text.size(), 200 * piece.size() + 3);
  EXPECT_EQ(parts, 4u);
  EXPECT_EQ(begins, 1u);
  EXPECT_EQ(ends, 1u);
}

TEST(LogReader, SkipsToTheEndOfALine) {
  std::string file = Record("stdout", "P", "a") + Record("stdout", "F", "b") + Record("stdout", "F", "c") +
                     Record("stdout", "P", "d") + Record("stdout", "F", "e");
  EXPECT_EQ(Joined(file, 100, 1), "<c><de>");
  EXPECT_EQ(Joined(file, 100, 2), "<de>");
  EXPECT_EQ(Joined(file, 100, 9), "");
}

TEST(FindTail, CountsLinesNotPieces) {
  char path[] = "/tmp/berth-tail-XXXXXX";
  sys::UniqueFd fd(mkstemp(path));
  ASSERT_TRUE(fd);
  unlink(path);
  const std::string a = Record("stdout", "F", "a"), b = Record("stdout", "P", "b") + Record("stdout", "F", "B"),
                    c = Record("stdout", "P", "c") + Record("stdout", "P", "C");
  ASSERT_TRUE(sys::WriteAll(fd.get(), a + b + c, path).ok());
  auto tail = [&](int64_t lines) {
    auto found = FindTail(fd.get(), lines);
    return found.ok() ? std::make_pair(static_cast<size_t>(found->offset), found->lines)
                      : std::make_pair(size_t{9}, -1l);
  };
  EXPECT_EQ(tail(0), std::make_pair(a.size() + b.size() + c.size(), 0l));
  EXPECT_EQ(tail(1), std::make_pair(a.size() + b.size(), 1l));
  EXPECT_EQ(tail(2), std::make_pair(a.size(), 2l));
  EXPECT_EQ(tail(3), std::make_pair(size_t{0}, 3l));
  EXPECT_EQ(tail(4), std::make_pair(size_t{0}, 3l));
}

}  // namespace
}  // namespace berth::cli
