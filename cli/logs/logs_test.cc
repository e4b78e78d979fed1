#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "cli/logs/log_reader.h"
#include "cli/logs/print_log.h"
#include "runtime/sys/file.h"

namespace berth::cli {
namespace {

constexpr char kTime[] = "2026-01-31T12:00:00.000000001Z";

std::string Record(absl::string_view stream, absl::string_view tag, absl::string_view text) {
  return absl::StrCat(kTime, " ", stream, " ", tag, " ", text, "\n");
}

class LogFile : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(dir_), nullptr);
    path_ = absl::StrCat(dir_, "/0.log");
  }
  void TearDown() override {
    auto parent = sys::Open("/tmp", O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(parent.ok());
    EXPECT_TRUE(sys::RemoveTreeAt(parent->get(), absl::string_view(dir_).substr(5)).ok());
  }
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  absl::Status Print(
      const LogOptions& options, std::function<bool()> running = [] { return false; }) {
    return PrintLog(path_, options, out_, err_, running);
  }

  char dir_[32] = "/tmp/berth-log-XXXXXX";
  std::string path_;
  std::ostringstream out_, err_;
};

std::string Joined(absl::string_view file, size_t block) {
  std::string out;
  LogReader reader([&](const LogPiece& piece) {
    absl::StrAppend(&out, piece.begins ? "<" : "", piece.is_stderr ? "e:" : "", piece.text, piece.ends ? ">" : "");
  });
  for (size_t i = 0; i < file.size(); i += block) reader.Feed(file.substr(i, block));
  reader.Finish();
  return out;
}

TEST(LogReader, JoinsPiecesPerStreamWhateverTheBlocks) {
  std::string file = Record("stdout", "P", "ab") + Record("stderr", "F", "x") + Record("stdout", "P", "c") +
                     Record("stdout", "F", "") + Record("stdout", "F:more", "d  e");
  for (size_t block : {1, 2, 7, 1000}) EXPECT_EQ(Joined(file, block), "<ab<e:x>c><d  e>") << block;
}

TEST(LogReader, PassesOnWhatIsNotInTheFormat) {
  for (const char* line : {"plain", "", "2026 stdout F x", "2026-01-31T12:00:00Z stdin F x",
                           "2026-01-31T12:00:00Z stdout X x", "2026-01-31T12:00:00Z stdout F"}) {
    EXPECT_EQ(Joined(absl::StrCat(line, "\n"), 100), absl::StrCat("<", line, ">"));
  }
}

TEST(LogReader, CutOffLineAtTheEnd) { EXPECT_EQ(Joined("2026-01-31T12:00:00Z stdout F half", 100), "<half>"); }

TEST_F(LogFile, SplitsStreamsAndShowsTimes) {
  Append(Record("stdout", "F", "one") + Record("stderr", "F", "two") + Record("stdout", "P", "thr") +
         Record("stdout", "F", "ee"));
  ASSERT_TRUE(Print({}).ok());
  EXPECT_EQ(out_.str(), "one\nthree\n");
  EXPECT_EQ(err_.str(), "two\n");
  out_.str("");
  LogOptions options;
  options.timestamps = true;
  ASSERT_TRUE(Print(options).ok());
  EXPECT_EQ(out_.str(), absl::StrCat(kTime, " one\n", kTime, " three\n"));
}

TEST_F(LogFile, TailCountsLinesNotPieces) {
  for (int i = 0; i < 5000; ++i) {
    Append(Record("stdout", "P", std::string(20, 'a')) + Record("stdout", "F", absl::StrCat(i)));
  }
  LogOptions options;
  options.tail = 2;
  ASSERT_TRUE(Print(options).ok());
  std::string a(20, 'a');
  EXPECT_EQ(out_.str(), absl::StrCat(a, "4998\n", a, "4999\n"));
  out_.str("");
  options.tail = 0;
  ASSERT_TRUE(Print(options).ok());
  EXPECT_EQ(out_.str(), "");
  options.tail = 4000;  // beyond one block
  ASSERT_TRUE(Print(options).ok());
  std::string text = out_.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 4000);
  out_.str("");
  options.tail = 9999;
  ASSERT_TRUE(Print(options).ok());
  text = out_.str();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5000);
}

TEST_F(LogFile, SinceLeavesOutOlderLines) {
  Append("2026-01-31T11:00:00Z stdout F old\n" + Record("stdout", "F", "new"));
  LogOptions options;
  ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, "2026-01-31T11:30:00Z", &options.since, nullptr));
  ASSERT_TRUE(Print(options).ok());
  EXPECT_EQ(out_.str(), "new\n");
}

TEST_F(LogFile, MissingFileIsAnErrorUnlessFollowed) {
  EXPECT_EQ(Print({}).code(), absl::StatusCode::kNotFound);
  LogOptions follow;
  follow.follow = true;
  EXPECT_EQ(Print(follow).code(), absl::StatusCode::kNotFound);  // the container is not running either
}

TEST_F(LogFile, FollowsOverARotationToTheEnd) {
  Append(Record("stdout", "F", "1"));
  std::atomic<bool> running = true;
  LogOptions follow;
  follow.follow = true;
  absl::Status status;
  std::thread follower([&] { status = Print(follow, [&] { return running.load(); }); });
  usleep(50'000);
  Append(Record("stdout", "F", "2"));
  ASSERT_EQ(rename(path_.c_str(), (path_ + ".old").c_str()), 0);
  std::ofstream(path_ + ".old", std::ios::app) << Record("stdout", "F", "3");  // the writer has not reopened yet
  Append(Record("stdout", "F", "4"));
  usleep(50'000);
  Append(Record("stdout", "F", "5"));
  running = false;
  follower.join();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(out_.str(), "1\n2\n3\n4\n5\n");
}

}  // namespace
}  // namespace berth::cli
