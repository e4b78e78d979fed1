#include "runtime/container/log_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

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

TEST_F(LogFileTest, AppendsOrStartsAnew) {
  OpenLog("0.log")->Write("one\n");
  OpenLog("0.log")->Write("two\n");
  EXPECT_EQ(Read("0.log"), "one\ntwo\n");
  OpenLog("0.log", false)->Write("three\n");
  EXPECT_EQ(Read("0.log"), "three\n");
}

TEST_F(LogFileTest, ReopenGoesToTheNewFileAndKeepsTheOldOneOnErrors) {
  auto log = OpenLog("0.log");
  log->Write("old\n");
  ASSERT_EQ(renameat(dir_.get(), "0.log", dir_.get(), "0.log.1"), 0);
  log->Write("still old\n");
  ASSERT_TRUE(log->Reopen().ok());
  log->Write("new\n");
  EXPECT_EQ(Read("0.log.1"), "old\nstill old\n");
  EXPECT_EQ(Read("0.log"), "new\n");
  ASSERT_EQ(unlinkat(dir_.get(), "0.log", 0), 0);
  ASSERT_EQ(symlinkat("/etc/passwd", dir_.get(), "0.log"), 0);
  EXPECT_EQ(ErrnoOf(log->Reopen()), ELOOP);
  log->Write("kept\n");
  EXPECT_EQ(log->dropped_bytes(), 0u);
}

TEST_F(LogFileTest, NamesThatLeaveTheDirectoryAndOddFilesAreRefused) {
  EXPECT_FALSE(OpenLog("../0.log").ok());
  EXPECT_FALSE(OpenLog("missing/0.log").ok());
  ASSERT_EQ(mkfifoat(dir_.get(), "fifo", 0600), 0);
  EXPECT_FALSE(OpenLog("fifo").ok());
  ASSERT_EQ(mkdirat(dir_.get(), "d", 0700), 0);
  EXPECT_FALSE(OpenLog("d").ok());
}

TEST_F(LogFileTest, AFullDiskDropsLinesAndTearsAtMostOne) {
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto ignore = signal(SIGXFSZ, SIG_IGN);
  auto log = OpenLog("0.log");
  const rlimit small = {10, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  log->Write("12345678\n");
  log->Write("torn line\n");
  log->Write("dropped\n");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  log->Write("again\n");
  signal(SIGXFSZ, ignore);
  EXPECT_EQ(Read("0.log"), "12345678\nt\nagain\n");
  EXPECT_EQ(log->dropped_bytes(), 17u);
}

TEST_F(LogFileTest, WithoutAFileNothingIsWritten) {
  LogFile none;
  none.Write("x\n");
  EXPECT_TRUE(none.Reopen().ok());
}

}  // namespace
}  // namespace berth::container
