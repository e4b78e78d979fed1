#include "cli/logs/print_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/logs/log_parts.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

constexpr char kTime[] = "2026-01-31T12:00:00.000000001Z";

std::string Record(absl::string_view stream, absl::string_view tag, absl::string_view text) {
  return absl::StrCat(kTime, " ", stream, " ", tag, " ", text, "\n");
}
std::string Line(absl::string_view text) { return Record("stdout", "F", text); }

class PrintLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(dir_), nullptr);
    path_ = absl::StrCat(dir_, "/0.log");
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  void Write(const std::string& suffix, const std::string& text) { std::ofstream(path_ + suffix) << text; }
  void Compress(const std::string& suffix, const std::string& text) {
    gzFile file = gzopen((path_ + suffix).c_str(), "wb");
    ASSERT_EQ(gzwrite(file, text.data(), static_cast<unsigned>(text.size())), static_cast<int>(text.size()));
    ASSERT_EQ(gzclose(file), Z_OK);
  }
  void Rotate(const std::string& suffix) { ASSERT_EQ(rename(path_.c_str(), (path_ + suffix).c_str()), 0); }
  absl::Status Print(
      const LogOptions& options, std::function<bool()> running = [] { return false; }) {
    out_.str("");
    err_.str("");
    return PrintLogs({{path_, "web", "app", std::move(running)}}, options, out_, err_);
  }
  std::string Out(const LogOptions& options = {}) {
    absl::Status status = Print(options);
    EXPECT_TRUE(status.ok()) << status;
    return out_.str();
  }
  std::string Tail(int64_t lines) {
    LogOptions options;
    options.tail = lines;
    return Out(options);
  }
  // Follows the log while `writer` runs and to its end.
  absl::Status Follow(const std::function<void()>& writer) {
    std::atomic<bool> running = true;
    LogOptions follow;
    follow.follow = true;
    absl::Status status;
    std::thread follower([&] { status = Print(follow, [&] { return running.load(); }); });
    writer();
    running = false;
    follower.join();
    return status;
  }

  char dir_[32] = "/tmp/berth-log-XXXXXX";
  std::string path_;
  std::ostringstream out_, err_;
};

TEST_F(PrintLogTest, SplitsStreamsAndShowsTimes) {
  Append(Line("one") + Record("stderr", "F", "two") + Record("stdout", "P", "thr") + Record("stdout", "F", "ee") +
         Record("stdout", "P", "no end"));
  EXPECT_EQ(Out(), "one\nthree\nno end");
  EXPECT_EQ(err_.str(), "two\n");
  LogOptions options;
  options.timestamps = true;
  EXPECT_EQ(Out(options), absl::StrCat(kTime, " one\n", kTime, " three\n", kTime, " no end"));
}

TEST_F(PrintLogTest, JsonIsOneObjectALine) {
  Append(Record("stdout", "P", "o\"n") + Record("stderr", "F", "two\xff") + Record("stdout", "F", "e") + "odd\n" +
         Record("stdout", "P", "end"));
  LogOptions options;
  options.json = true;
  const std::string time = absl::StrCat("\"time\":\"", kTime, "\"}\n");
  EXPECT_EQ(Out(options),
            "{\"container\":\"app\",\"log\":\"two\xEF\xBF\xBD\",\"pod\":\"web\",\"stream\":\"stderr\"," + time +
                "{\"container\":\"app\",\"log\":\"o\\\"ne\",\"pod\":\"web\",\"stream\":\"stdout\"," + time +
                "{\"container\":\"app\",\"log\":\"odd\",\"pod\":\"web\",\"stream\":\"stdout\"}\n" +
                "{\"container\":\"app\",\"log\":\"end\",\"partial\":true,\"pod\":\"web\",\"stream\":\"stdout\"," +
                time);
}

TEST_F(PrintLogTest, SeveralLogsHavePrefixes) {
  Append(Line("one") + Record("stdout", "P", "no end"));
  Write(".other", Record("stderr", "F", "two"));
  LogOptions options;
  options.prefix = true;
  ASSERT_TRUE(
      PrintLogs({{path_, "web", "a", nullptr}, {path_ + ".other", "web", "b", nullptr}}, options, out_, err_).ok());
  EXPECT_EQ(out_.str(), "[web/a] one\n[web/a] no end\n");
  EXPECT_EQ(err_.str(), "[web/b] two\n");
}

TEST_F(PrintLogTest, OneMissingLogDoesNotHideTheOthers) {
  Append(Line("one"));
  EXPECT_EQ(ErrnoOf(PrintLogs({{path_ + ".no", "", "", nullptr}, {path_, "", "", nullptr}}, {}, out_, err_)), ENOENT);
  EXPECT_EQ(out_.str(), "one\n");
}

TEST_F(PrintLogTest, TailCountsLinesNotPieces) {
  std::string text, a(20, 'a');
  for (int i = 0; i < 5000; ++i) text += Record("stdout", "P", a) + Line(absl::StrCat(i));
  Append(text);
  EXPECT_EQ(Tail(2), absl::StrCat(a, "4998\n", a, "4999\n"));
  EXPECT_EQ(Tail(0), "");
  auto count = [](const std::string& s) { return std::count(s.begin(), s.end(), '\n'); };
  EXPECT_EQ(count(Tail(4000)), 4000);  // beyond one block
  EXPECT_EQ(count(Tail(9999)), 5000);
}

TEST_F(PrintLogTest, SinceAndUntilLeaveOutLines) {
  Append("2026-01-31T11:00:00Z stdout F old\n" + Line("now") + "2026-01-31T13:00:00Z stdout F later\n");
  LogOptions options;
  ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, "2026-01-31T11:30:00Z", &options.since, nullptr));
  EXPECT_EQ(Out(options), "now\nlater\n");
  ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, "2026-01-31T12:30:00Z", &options.until, nullptr));
  EXPECT_EQ(Out(options), "now\n");
}

TEST_F(PrintLogTest, RotatedFilesAreTheBeginningOfTheLog) {
  Compress(".20260131-100000.gz", Line("1") + Line("2") + Record("stdout", "P", "3a"));
  Write(".20260131-110000", Line("3b") + Line("4"));
  Append(Line("5"));
  // None of these is a part of it.
  Write(".20260131-120000.gz.tmp", "x\n");
  Write(".bak", "x\n");
  Write(".2026", "x\n");
  ASSERT_EQ(mkdir((path_ + ".20260131-130000").c_str(), 0700), 0);
  std::ofstream(absl::StrCat(dir_, "/1.log.20260131-100000")) << "x\n";
  EXPECT_EQ(Out(), "1\n2\n3a3b\n4\n5\n");
  EXPECT_EQ(Tail(1), "5\n");
  EXPECT_EQ(Tail(2), "4\n5\n");
  EXPECT_EQ(Tail(3), "3a3b\n4\n5\n");
  EXPECT_EQ(Tail(4), "2\n3a3b\n4\n5\n");
  EXPECT_EQ(Tail(5), "1\n2\n3a3b\n4\n5\n");
  EXPECT_EQ(Tail(50), "1\n2\n3a3b\n4\n5\n");
}

TEST_F(PrintLogTest, APartThatIsBeingCompressedIsReadOnce) {
  Write(".20260131-110000", Line("1"));
  Compress(".20260131-110000.gz", Line("1"));
  Append(Line("2"));
  EXPECT_EQ(Out(), "1\n2\n");
  LogReader reader([](const LogLine&) { FAIL(); });
  ASSERT_EQ(unlink((path_ + ".20260131-110000.gz").c_str()), 0);
  EXPECT_TRUE(ReadPart({path_ + ".20260131-110001", {}, {}}, reader).ok());  // removed since it was listed
  Compress(".20260131-110001.gz", Line("1"));
  EXPECT_EQ(*CountLines({path_ + ".20260131-110001", {}, {}}), 1);  // compressed since
}

TEST_F(PrintLogTest, ADamagedPartIsAnErrorThatNamesIt) {
  Write(".20260131-110000.gz", std::string("\x1f\x8b\x08\0\0\0\0\0\0\0xxxx", 14));
  Append(Line("2"));
  EXPECT_THAT(std::string(Print({}).message()), ::testing::HasSubstr("/0.log.20260131-110000.gz"));
}

TEST_F(PrintLogTest, SinceDoesNotReadPartsThatAreTooOld) {
  Write(".20260131-110000.gz", "damaged");
  Append(Line("2"));
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, (path_ + ".20260131-110000.gz").c_str(), old, 0), 0);
  LogOptions options;
  options.since = absl::FromUnixSeconds(2000);
  EXPECT_EQ(Out(options), "2\n");
}

TEST_F(PrintLogTest, MissingFileIsAnErrorUnlessFollowed) {
  EXPECT_EQ(Print({}).code(), absl::StatusCode::kNotFound);
  LogOptions follow;
  follow.follow = true;
  EXPECT_EQ(Print(follow).code(), absl::StatusCode::kNotFound);  // the container is not running either
  absl::Status status = Follow([&] {
    usleep(50'000);
    Append(Line("late"));
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(out_.str(), "late\n");
}

TEST_F(PrintLogTest, BetweenRenamingAndReopeningThereIsALogToo) {
  Write(".20260131-110000", Line("1"));
  EXPECT_EQ(Out(), "1\n");
}

TEST_F(PrintLogTest, FollowsOverARotationToTheEnd) {
  Append(Line("1"));
  absl::Status status = Follow([&] {
    usleep(50'000);
    Append(Line("2"));
    Rotate(".old");
    std::ofstream(path_ + ".old", std::ios::app) << Line("3");  // the writer has not reopened yet
    Append(Line("4"));
    usleep(50'000);
    Append(Line("5"));
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(out_.str(), "1\n2\n3\n4\n5\n");
}

TEST_F(PrintLogTest, FollowsOverManyRotationsAtOnce) {
  constexpr int kRotations = 400;
  std::string want;
  Append(Line("0"));
  absl::Status status = Follow([&] {
    for (int i = 1; i <= kRotations; ++i) {
      Append(Line(absl::StrCat(i)));
      Rotate(absl::StrCat(".20260131-", 100000 + i));
      Append(Record("stdout", "P", absl::StrCat(i, "a")));
      Append(Line("b"));
    }
  });
  for (int i = 0; i <= kRotations; ++i) absl::StrAppend(&want, i, "\n", i == 0 ? "" : absl::StrCat(i, "ab\n"));
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(out_.str(), want);
}

TEST_F(PrintLogTest, FollowsIntoAPartThatWasCompressedMeanwhile) {
  Append(Line("1"));
  absl::Status status = Follow([&] {
    usleep(50'000);
    Compress(".20260131-100002.gz", Line("2"));
    Append(Line("1b"));
    Rotate(".20260131-100001");
    Append(Line("3"));
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(out_.str(), "1\n1b\n2\n3\n");
}

TEST_F(PrintLogTest, FollowsAFileThatWasEmptied) {
  Append(Line("some long first line"));
  absl::Status status = Follow([&] {
    usleep(100'000);
    ASSERT_EQ(truncate(path_.c_str(), 0), 0);
    Append(Line("2"));
    usleep(50'000);
    Append(Line("3"));
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(out_.str(), "some long first line\n2\n3\n");
}

TEST_F(PrintLogTest, FollowingEndsThoughTheDirectoryIsNeverQuiet) {
  Append(Line("1"));
  std::atomic<bool> done = false;
  std::thread neighbour([&] {
    while (!done) {
      std::ofstream(absl::StrCat(dir_, "/neighbour.log"), std::ios::app) << "x\n";
      usleep(10'000);
    }
  });
  LogOptions follow;
  follow.follow = true;
  EXPECT_TRUE(Print(follow).ok());
  done = true;
  neighbour.join();
}

TEST_F(PrintLogTest, FollowingAQuietLogEndsWithItsReader) {
  Append(Line("1"));
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  std::atomic<bool> running = true;
  LogOptions follow;
  follow.follow = true;
  follow.out_fd = pipe[1];
  std::thread reader([&] {
    usleep(100'000);
    close(pipe[0]);
    for (int i = 0; i < 1000 && running; ++i) usleep(10'000);
    EXPECT_FALSE(running) << "it still follows";
    running = false;
  });
  EXPECT_TRUE(Print(follow, [&] { return running.load(); }).ok());
  running = false;
  reader.join();
  close(pipe[1]);
}

TEST_F(PrintLogTest, FollowingEndsWhenNobodyReads) {
  Append(Line("1"));
  LogOptions follow;
  follow.follow = true;
  std::ofstream full("/dev/full");
  EXPECT_TRUE(PrintLogs({{path_, "", "", [] { return true; }}}, follow, full, err_).ok());
}

}  // namespace
}  // namespace berth::cli
