#include "runtime/sys/file.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>

namespace berth::sys {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-file-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    path_ = path;
    root_ = *Open(path_, O_RDONLY | O_DIRECTORY);
  }
  void TearDown() override { EXPECT_TRUE(RemoveTreeAt(AT_FDCWD, path_).ok()); }
  std::string path_;
  UniqueFd root_;
};

TEST_F(FileTest, PathsInARootNeverLeaveIt) {
  ASSERT_TRUE(MakeDirsInRoot(root_.get(), "etc", 0755).ok());
  ASSERT_EQ(symlinkat("/etc", root_.get(), "link"), 0);
  ASSERT_EQ(symlinkat("../../../../../..", root_.get(), "up"), 0);
  ASSERT_TRUE(OpenInRoot(root_.get(), "/link/made", O_CREAT | O_WRONLY, 0600).ok());
  EXPECT_TRUE(ReadFileAt(root_.get(), "etc/made").ok());
  EXPECT_TRUE(OpenInRoot(root_.get(), "up/etc/made", O_RDONLY).ok());
  EXPECT_EQ(ErrnoOf(OpenBeneath(root_.get(), "link/made", O_RDONLY).status()), ELOOP);
  EXPECT_EQ(ErrnoOf(OpenBeneath(root_.get(), "../x", O_RDONLY).status()), EXDEV);
}

TEST_F(FileTest, MakeDirsInRootFollowsLinksInsideTheRoot) {
  ASSERT_EQ(symlinkat("/a/b", root_.get(), "l"), 0);
  ASSERT_TRUE(MakeDirsInRoot(root_.get(), "/a/b", 0755).ok());
  ASSERT_TRUE(MakeDirsInRoot(root_.get(), "/l/c/d", 0755).ok());
  EXPECT_TRUE(OpenInRoot(root_.get(), "a/b/c/d", O_PATH).ok());
  ASSERT_TRUE(ReplaceFileAt(root_.get(), "f", "x", 0600).ok());
  EXPECT_EQ(ErrnoOf(MakeDirsInRoot(root_.get(), "f/g", 0755).status()), ENOTDIR);
}

TEST_F(FileTest, ReplaceIsSeenWhole) {
  ASSERT_TRUE(ReplaceFileAt(root_.get(), "s", "one", 0600).ok());
  ASSERT_TRUE(ReplaceFileAt(root_.get(), "s", "two", 0600).ok());
  EXPECT_EQ(*ReadFileAt(root_.get(), "s"), "two");
  EXPECT_EQ(*ListDir(root_.get()), std::vector<std::string>{"s"});
  EXPECT_EQ(ReadFileAt(root_.get(), "s", 2).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(FileTest, ReplaceThatFailsLeavesNothing) {
  ASSERT_TRUE(MakeDirsInRoot(root_.get(), "s", 0755).ok());
  EXPECT_EQ(ErrnoOf(ReplaceFileAt(root_.get(), "s", "one", 0600)), EISDIR);
  EXPECT_EQ(*ListDir(root_.get()), std::vector<std::string>{"s"});
}

TEST_F(FileTest, RemoveTreeDoesNotFollowLinks) {
  ASSERT_TRUE(MakeDirsInRoot(root_.get(), "keep/x", 0755).ok());
  ASSERT_TRUE(MakeDirsInRoot(root_.get(), "gone/y", 0755).ok());
  ASSERT_EQ(symlinkat("../keep", root_.get(), "gone/link"), 0);
  ASSERT_TRUE(RemoveTreeAt(root_.get(), "gone").ok());
  ASSERT_TRUE(RemoveTreeAt(root_.get(), "gone").ok());
  EXPECT_EQ(*ListDir(root_.get()), std::vector<std::string>{"keep"});
  EXPECT_TRUE(OpenInRoot(root_.get(), "keep/x", O_PATH).ok());
}

TEST_F(FileTest, RemoveTreeGetsToTheBottomOfAnyDepth) {
  UniqueFd at = *MakeDirsInRoot(root_.get(), "deep", 0755);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(mkdirat(at.get(), "d", 0755), 0);
    at = *OpenAt(at.get(), "d", O_PATH | O_DIRECTORY);
  }
  std::atomic<bool> stop{true};
  EXPECT_EQ(RemoveTreeAt(root_.get(), "deep", &stop).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(RemoveTreeAt(root_.get(), "deep").ok());
  EXPECT_TRUE(ListDir(root_.get())->empty());
}

}  // namespace
}  // namespace berth::sys
