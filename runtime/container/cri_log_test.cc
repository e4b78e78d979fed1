#include "runtime/container/cri_log.h"

#include <gtest/gtest.h>
#include <time.h>

#include <string>
#include <vector>

namespace berth::container {
namespace {

constexpr int64_t kTime = 1767323045678901234;  // 2026-01-02T03:04:05.678901234Z
constexpr char kStamp[] = "2026-01-02T03:04:05.678901234Z";

// Feeds `input` in pieces of `piece` bytes and ends the stream.
std::string Log(CriLogEncoder encoder, absl::string_view input, size_t piece = 1 << 20) {
  std::string log;
  std::vector<char> out(encoder.max_line());
  for (size_t at = 0; at < input.size(); at += piece) {
    absl::string_view part = input.substr(at, piece);
    while (!part.empty()) log.append(out.data(), encoder.Encode(part, kTime, out.data(), out.size()));
  }
  log.append(out.data(), encoder.Finish(kTime, out.data()));
  return log;
}

std::string Line(absl::string_view stream, char tag, absl::string_view text) {
  std::string line = kStamp;
  line.append(" ").append(stream.data(), stream.size()).append(" ").append(1, tag).append(" ");
  return line.append(text.data(), text.size()).append("\n");
}

TEST(CriLog, TimeAgreesWithTheCalendarOfTheLibrary) {
  for (int64_t seconds :
       {0ll, 951782399ll, 951782400ll, 951868800ll, 1709164800ll, 4107542399ll, 4107542400ll, 253402300799ll}) {
    for (int64_t ns : {0ll, 999999999ll}) {
      if (seconds > 9000000000ll) continue;  // beyond 64 bits of nanoseconds
      char got[31] = {};
      FormatLogTime(seconds * 1000000000 + ns, got);
      const time_t t = seconds;
      struct tm tm;
      char want[64];
      const size_t n = strftime(want, sizeof want, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t, &tm));
      snprintf(want + n, sizeof want - n, ".%09lldZ", static_cast<long long>(ns));
      EXPECT_STREQ(got, want);
    }
  }
}

TEST(CriLog, LinesAndTheRestWithoutNewline) {
  EXPECT_EQ(Log({"stdout", false}, "one\n\ntwo\nrest"), Line("stdout", 'F', "one") + Line("stdout", 'F', "") +
                                                            Line("stdout", 'F', "two") + Line("stdout", 'P', "rest"));
  EXPECT_EQ(Log({"stderr", false}, "x\n"), Line("stderr", 'F', "x"));
  EXPECT_EQ(Log({"stdout", false}, ""), "");
}

TEST(CriLog, HowTheBytesArriveMakesNoDifference) {
  const std::string input = "first\nsecond line\n\n" + std::string(40000, 'a') + "\nend\r\nno newline";
  for (bool terminal : {false, true}) {
    const std::string whole = Log({"stdout", terminal}, input);
    for (size_t piece : {1u, 2u, 3u, 7u, 4096u, 16384u, 16385u}) {
      EXPECT_EQ(Log({"stdout", terminal}, input, piece), whole) << piece << terminal;
    }
  }
}

TEST(CriLog, LongLinesAreCutInParts) {
  const std::string full(CriLogEncoder::kDefaultContent, 'x');
  EXPECT_EQ(Log({"stdout", false}, full + "\n"), Line("stdout", 'F', full));
  EXPECT_EQ(Log({"stdout", false}, full + "y\n"), Line("stdout", 'P', full) + Line("stdout", 'F', "y"));
  EXPECT_EQ(Log({"stdout", false}, full + full + "\n"), Line("stdout", 'P', full) + Line("stdout", 'F', full));
  EXPECT_EQ(Log({"stdout", false}, full), Line("stdout", 'P', full));
}

TEST(CriLog, TheLengthOfAPartIsWhatWasAskedFor) {
  EXPECT_EQ(Log({"stdout", false, 1}, "ab\n"), Line("stdout", 'P', "a") + Line("stdout", 'F', "b"));
  EXPECT_EQ(Log({"stdout", true, 4}, "abcd\r\nefghi\n"),
            Line("stdout", 'F', "abcd") + Line("stdout", 'P', "efgh") + Line("stdout", 'F', "i"));
  const std::string most(CriLogEncoder::kMaxContent, 'x');
  for (size_t piece : {65536u, 1u << 21}) {
    EXPECT_EQ(Log({"stdout", false, most.size()}, most + "y\nz\n", piece),
              Line("stdout", 'P', most) + Line("stdout", 'F', "y") + Line("stdout", 'F', "z"));
  }
}

TEST(CriLog, OwnBytesAreTextAndNewlinesOfWholeLines) {
  const std::string lines = Line("stdout", 'F', "abc") + Line("stderr", 'P', "de") + Line("stdout", 'F', "");
  EXPECT_EQ(CriLogEncoder::OwnBytes(lines, 0), 4u + 2u + 1u);
  EXPECT_EQ(CriLogEncoder::OwnBytes(lines, 41), 3u + 2u + 1u);  // behind the a
  EXPECT_EQ(CriLogEncoder::OwnBytes(lines, 44), 2u + 1u);
  EXPECT_EQ(CriLogEncoder::OwnBytes(lines, 44 + 42), 0u + 1u);  // behind the e
  EXPECT_EQ(CriLogEncoder::OwnBytes(lines, lines.size()), 0u);
  EXPECT_EQ(CriLogEncoder::OwnBytes("", 0), 0u);
}

TEST(CriLog, TerminalsLoseTheirCarriageReturnsAndOthersKeepThem) {
  EXPECT_EQ(Log({"stdout", true}, "a\r\nb\rc\r\n\r\n"),
            Line("stdout", 'F', "a") + Line("stdout", 'F', "b\rc") + Line("stdout", 'F', ""));
  EXPECT_EQ(Log({"stdout", false}, "a\r\n"), Line("stdout", 'F', "a\r"));
  const std::string full(CriLogEncoder::kDefaultContent, 'x');
  EXPECT_EQ(Log({"stdout", true}, full + "\r\n"), Line("stdout", 'F', full));
}

TEST(CriLog, TheOutputNeverExceedsItsRoom) {
  CriLogEncoder encoder("stdout", false);
  const std::string newlines(100000, '\n');
  absl::string_view input = newlines;
  std::vector<char> out(encoder.max_line() + 100);
  size_t lines = 0, rounds = 0;
  while (!input.empty()) {
    const size_t n = encoder.Encode(input, kTime, out.data(), out.size());
    ASSERT_LE(n, out.size());
    ASSERT_GT(n, 0u);
    for (size_t i = 0; i < n; ++i) lines += out[i] == '\n';
    ++rounds;
  }
  EXPECT_EQ(lines, newlines.size());
  EXPECT_GT(rounds, 1u);
}

}  // namespace
}  // namespace berth::container
