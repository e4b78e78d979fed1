#include "runtime/sys/file_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstdlib>
#include <optional>

#include "runtime/sys/file.h"

namespace berth::sys {
namespace {

using testing::HasSubstr;

class FileLockTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-lock-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
    path_ = dir_ + "/lock";
  }
  void TearDown() override { EXPECT_TRUE(RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  std::string dir_, path_;
};

TEST_F(FileLockTest, NamesTheProcessThatHoldsIt) {
  EXPECT_EQ(*HolderOfLock(path_), std::nullopt);
  EXPECT_NE(access(path_.c_str(), F_OK), 0) << "asking made the file";
  auto lock = FileLock::Take(path_);
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_EQ(*HolderOfLock(path_), getpid());
  absl::Status second = FileLock::Take(path_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.message(), HasSubstr(absl::StrCat("'", path_, "' is locked by process ", getpid(), " (")));
  EXPECT_EQ(*HolderOfLock(path_), getpid()) << "asking, or a second try, gave it up";
  lock = absl::CancelledError("given up");
  EXPECT_EQ(*HolderOfLock(path_), std::nullopt);
  EXPECT_TRUE(FileLock::Take(path_).ok());
}

TEST_F(FileLockTest, EndsWithAProcessThatIsKilled) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    auto lock = FileLock::Take(path_);
    (void)!write(ready[1], lock.ok() ? "y" : "n", 1);
    pause();
    _exit(0);
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_EQ(*HolderOfLock(path_), child);
  EXPECT_FALSE(FileLock::Take(path_).ok());
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(FileLock::Take(path_).ok());
  close(ready[0]);
  close(ready[1]);
}

TEST_F(FileLockTest, FollowsNoLink) {
  ASSERT_EQ(symlink("/etc/hostname", path_.c_str()), 0);
  EXPECT_EQ(ErrnoOf(FileLock::Take(path_).status()), ELOOP);
}

}  // namespace
}  // namespace berth::sys
