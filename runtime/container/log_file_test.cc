#include "runtime/container/log_file.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::container {
namespace {

class LogFileTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-log-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    path_ = path;
    dir_ = *sys::Open(path_, O_RDONLY | O_DIRECTORY);
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, path_).ok()); }
  absl::StatusOr<LogFile> OpenLog(const char* name, bool append = true) {
    return LogFile::Open(sys::UniqueFd(dup(dir_.get())), name, append);
  }
  std::string Read(const char* name) { return sys::ReadFileAt(dir_.get(), name).value_or("(none)"); }
  std::string path_;
  sys::UniqueFd dir_;
};

// Limits the size of all files for as long as it lives: what a full disk is to a log.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t size) {
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &old_), 0);
    handler_ = signal(SIGXFSZ, SIG_IGN);
    Resize(size);
  }
  ~SmallDisk() {
    Resize(old_.rlim_cur);
    signal(SIGXFSZ, handler_);
  }
  void Resize(rlim_t size) {
    const rlimit limit = {size, old_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }

 private:
  rlimit old_;
  sighandler_t handler_;
};

constexpr int64_t kTime = 1767323045678901234;
#define STAMP "2026-01-02T03:04:05.678901234Z"

std::string Line(absl::string_view text) { return absl::StrCat(STAMP " stdout F ", text, "\n"); }
std::string Lost(int bytes) {
  return absl::StrCat(STAMP " stderr F berth: ", bytes, " bytes of output were lost: File too large\n");
}

TEST_F(LogFileTest, AppendsOrStartsAnew) {
  OpenLog("0.log")->Write("one\n", kTime);
  OpenLog("0.log")->Write("two\n", kTime);
  EXPECT_EQ(Read("0.log"), "one\ntwo\n");
  OpenLog("0.log", false)->Write("three\n", kTime);
  EXPECT_EQ(Read("0.log"), "three\n");
}

TEST_F(LogFileTest, ReopenGoesToTheNewFileAndKeepsTheOldOneOnErrors) {
  auto log = OpenLog("0.log");
  log->Write("old\n", kTime);
  ASSERT_EQ(renameat(dir_.get(), "0.log", dir_.get(), "0.log.1"), 0);
  log->Write("still old\n", kTime);
  ASSERT_TRUE(log->Reopen({}, kTime).ok());
  log->Write("new\n", kTime);
  EXPECT_EQ(Read("0.log.1"), "old\nstill old\n");
  EXPECT_EQ(Read("0.log"), "new\n");
  ASSERT_EQ(renameat(dir_.get(), "0.log", dir_.get(), "0.log.2"), 0);
  ASSERT_EQ(symlinkat("/etc/passwd", dir_.get(), "0.log"), 0);
  EXPECT_EQ(log->Reopen({}, kTime).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(unlinkat(dir_.get(), "0.log", 0), 0);
  ASSERT_EQ(mkfifoat(dir_.get(), "0.log", 0600), 0);
  EXPECT_EQ(log->Reopen({}, kTime).code(), absl::StatusCode::kInvalidArgument);
  log->Write("kept\n", kTime);
  EXPECT_EQ(Read("0.log.2"), "new\nkept\n");
}

TEST_F(LogFileTest, ReopenOfTheSameFileGoesOn) {
  auto log = OpenLog("0.log");
  log->Write("one\n", kTime);
  ASSERT_TRUE(log->Reopen({}, kTime).ok());
  log->Write("two\n", kTime);
  EXPECT_EQ(Read("0.log"), "one\ntwo\n");
}

TEST_F(LogFileTest, ADirectoryThatWasMadeAnewIsFoundThroughItsNewDescriptor) {
  ASSERT_EQ(mkdirat(dir_.get(), "d", 0700), 0);
  auto open_dir = [&] { return *sys::Open(path_ + "/d", O_RDONLY | O_DIRECTORY); };
  auto log = LogFile::Open(open_dir(), "0.log", true);
  ASSERT_EQ(renameat(dir_.get(), "d/0.log", dir_.get(), "old"), 0);
  ASSERT_EQ(unlinkat(dir_.get(), "d", AT_REMOVEDIR), 0);
  EXPECT_EQ(ErrnoOf(log->Reopen({}, kTime)), ENOENT);
  log->Write("old\n", kTime);
  ASSERT_EQ(mkdirat(dir_.get(), "d", 0700), 0);
  EXPECT_EQ(ErrnoOf(log->Reopen({}, kTime)), ENOENT);
  ASSERT_TRUE(log->Reopen(open_dir(), kTime).ok());
  ASSERT_TRUE(log->Reopen({}, kTime).ok());  // and from then on without it
  log->Write("new\n", kTime);
  EXPECT_EQ(Read("old"), "old\n");
  EXPECT_EQ(Read("d/0.log"), "new\n");
}

TEST_F(LogFileTest, NamesThatLeaveTheDirectoryAndOddFilesAreRefused) {
  EXPECT_FALSE(OpenLog("../0.log").ok());
  EXPECT_FALSE(OpenLog("missing/0.log").ok());
  ASSERT_EQ(mkfifoat(dir_.get(), "fifo", 0600), 0);
  EXPECT_FALSE(OpenLog("fifo").ok());
  ASSERT_EQ(mkdirat(dir_.get(), "d", 0700), 0);
  EXPECT_FALSE(OpenLog("d").ok());
}

TEST_F(LogFileTest, AFullDiskDropsLinesAndTearsAtMostOneAndTheLogSaysHowMuch) {
  auto log = OpenLog("0.log");
  log->Write(Line("first"), kTime);
  {
    SmallDisk disk(2 * Line("first").size() - 3);
    log->Write(Line("tor|n"), kTime);
    log->Write(Line("dropped") + Line("too"), kTime);
    EXPECT_EQ(log->lost_bytes(), 3u + 8u + 4u);
  }
  log->Write(Line("again"), kTime);
  EXPECT_EQ(Read("0.log"), Line("first") + STAMP " stdout F tor\n" + Lost(15) + Line("again"));
  EXPECT_EQ(log->lost_bytes(), 0u);
  log->Write(Line("more"), kTime);
  EXPECT_THAT(Read("0.log"), testing::EndsWith(Line("again") + Line("more")));
}

// The worst places for a disk to be full: every one from within the first line to behind the last.
TEST_F(LogFileTest, WhereverTheDiskEndsTheSumOfWhatIsWrittenAndLostIsWhole) {
  const std::string first = Line("0123456789"), second = Line("abcdef") + Line("ghi");
  constexpr size_t kText = 19, kNewlines = 3;
  for (size_t limit = 0; limit <= first.size() + second.size() + 100; ++limit) {
    auto log = OpenLog("0.log", false);
    {
      SmallDisk disk(limit);
      log->Write(first, kTime);
      log->Write(second, kTime);
      disk.Resize(limit + 20);  // room for a part of what tells of the loss
      log->Write({}, kTime);
    }
    log->Write(Line("END"), kTime);
    const std::string text = Read("0.log");
    ASSERT_THAT(text, testing::EndsWith(Line("END"))) << limit;
    size_t kept = 0, lost = 0;
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      if (absl::StartsWith(line, STAMP " stderr F berth: ") && absl::EndsWith(line, "too large")) {
        lost += std::stoul(std::string(line.substr(47)));
      } else if (absl::StartsWith(line, STAMP " stdout F ") && !absl::EndsWith(line, "END")) {
        kept += line.size() - 40;
      }
    }
    EXPECT_GE(kept + lost, kText) << limit << "\n" << text;
    EXPECT_LE(kept + lost, kText + kNewlines) << limit << "\n" << text;
    EXPECT_EQ(lost == 0, limit >= first.size() + second.size()) << limit << "\n" << text;
  }
}

TEST_F(LogFileTest, ANewFileTellsOfTheLossAtOnce) {
  auto log = OpenLog("0.log");
  {
    SmallDisk disk(50);
    log->Write(Line("0123456789abcdef"), kTime);
    EXPECT_EQ(log->lost_bytes(), 7u);
  }
  ASSERT_EQ(renameat(dir_.get(), "0.log", dir_.get(), "old"), 0);
  ASSERT_TRUE(log->Reopen({}, kTime).ok());
  EXPECT_EQ(Read("old"), STAMP " stdout F 0123456789\n");
  EXPECT_EQ(Read("0.log"), Lost(7));
}

TEST_F(LogFileTest, ALineThatAKilledWriterLeftIsEnded) {
  OpenLog("0.log")->Write(STAMP " stdout F ha", kTime);
  OpenLog("0.log")->Write(Line("whole"), kTime);
  EXPECT_EQ(Read("0.log"), STAMP " stdout F ha\n" + Line("whole"));
}

TEST_F(LogFileTest, WithoutAFileNothingIsWritten) {
  LogFile none;
  none.Write("x\n", kTime);
  EXPECT_TRUE(none.Reopen({}, kTime).ok());
  EXPECT_EQ(none.lost_bytes(), 0u);
}

}  // namespace
}  // namespace berth::container
