#include "image/snapshot/copy_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/sys/file.h"

namespace berth::image {
namespace {

class CopyTreeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "owners and devices need root";
    char path[] = "/var/tmp/berth-copy-tree-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    root_ = path;
    for (const char* name : {"/from", "/to"}) ASSERT_EQ(mkdir((root_ + name).c_str(), 0755), 0);
  }
  void TearDown() override {
    if (root_.empty()) return;
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, root_).ok());
  }
  std::string From(const std::string& name) { return root_ + "/from/" + name; }
  std::string To(const std::string& name) { return root_ + "/to/" + name; }
  void Write(const std::string& path, absl::string_view text, mode_t mode = 0644) {
    auto fd = sys::Open(path, O_WRONLY | O_CREAT, mode);
    ASSERT_TRUE(fd.ok()) << fd.status();
    ASSERT_TRUE(sys::WriteAll(fd->get(), text, path).ok());
    ASSERT_EQ(fchmod(fd->get(), mode), 0);
  }
  absl::Status Copy() {
    auto from = sys::Open(root_ + "/from", O_RDONLY | O_DIRECTORY);
    auto to = sys::Open(root_ + "/to", O_RDONLY | O_DIRECTORY);
    return CopyTree(from->get(), to->get());
  }
  static struct stat Stat(const std::string& path) {
    struct stat st = {};
    EXPECT_EQ(lstat(path.c_str(), &st), 0) << path;
    return st;
  }
  std::string root_;
};

TEST_F(CopyTreeTest, KeepsOwnersModesTimesAndAttributes) {
  Write(From("file"), "text", 04751);
  ASSERT_EQ(chown(From("file").c_str(), 5, 6), 0);
  ASSERT_EQ(chmod(From("file").c_str(), 04751), 0);
  ASSERT_EQ(setxattr(From("file").c_str(), "user.note", "mine", 4, 0), 0);
  ASSERT_EQ(chown(From("").c_str(), 999, 998), 0);
  ASSERT_EQ(chmod(From("").c_str(), 01770), 0);
  const struct timespec times[2] = {{1600000000, 5}, {1600000000, 5}};
  ASSERT_EQ(utimensat(AT_FDCWD, From("file").c_str(), times, 0), 0);
  ASSERT_EQ(utimensat(AT_FDCWD, From("").c_str(), times, 0), 0);
  ASSERT_TRUE(Copy().ok()) << Copy();

  struct stat file = Stat(To("file")), top = Stat(To(""));
  EXPECT_EQ(file.st_mode & 07777, 04751u);
  EXPECT_EQ(file.st_uid, 5u);
  EXPECT_EQ(file.st_gid, 6u);
  EXPECT_EQ(file.st_mtim.tv_sec, 1600000000);
  EXPECT_EQ(file.st_mtim.tv_nsec, 5);
  char note[8] = {};
  EXPECT_EQ(getxattr(To("file").c_str(), "user.note", note, sizeof note), 4);
  EXPECT_EQ(top.st_mode & 07777, 01770u);
  EXPECT_EQ(top.st_uid, 999u);
  EXPECT_EQ(top.st_mtim.tv_sec, 1600000000);
  EXPECT_EQ(*sys::ReadFile(To("file")), "text");
}

TEST_F(CopyTreeTest, LinksStayLinks) {
  ASSERT_EQ(mkdir(From("d").c_str(), 0755), 0);
  Write(From("d/one"), "1");
  ASSERT_EQ(link(From("d/one").c_str(), From("two").c_str()), 0);
  ASSERT_EQ(symlink("/etc/passwd", From("absolute").c_str()), 0);
  ASSERT_EQ(symlink("../../../etc", From("d/up").c_str()), 0);
  ASSERT_EQ(lchown(From("absolute").c_str(), 7, 8), 0);
  ASSERT_TRUE(Copy().ok());

  EXPECT_EQ(Stat(To("d/one")).st_ino, Stat(To("two")).st_ino);
  EXPECT_NE(Stat(To("two")).st_ino, Stat(From("two")).st_ino);
  char target[64] = {};
  EXPECT_GT(readlink(To("absolute").c_str(), target, sizeof target), 0);
  EXPECT_STREQ(target, "/etc/passwd");
  EXPECT_EQ(Stat(To("absolute")).st_uid, 7u);
  EXPECT_TRUE(S_ISLNK(Stat(To("d/up")).st_mode));
}

TEST_F(CopyTreeTest, SpecialFilesAndHoles) {
  ASSERT_EQ(mkfifo(From("fifo").c_str(), 0600), 0);
  ASSERT_EQ(mknod(From("null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
  ASSERT_EQ(chmod(From("null").c_str(), 0666), 0);
  Write(From("sparse"), "begin");
  ASSERT_EQ(truncate(From("sparse").c_str(), 64 << 20), 0);
  ASSERT_TRUE(Copy().ok());

  EXPECT_TRUE(S_ISFIFO(Stat(To("fifo")).st_mode));
  EXPECT_EQ(Stat(To("null")).st_rdev, makedev(1, 3));
  EXPECT_EQ(Stat(To("null")).st_mode & 07777, 0666u);
  EXPECT_EQ(Stat(To("sparse")).st_size, 64 << 20);
  EXPECT_LT(Stat(To("sparse")).st_blocks, 1000);
}

TEST_F(CopyTreeTest, AsDeepAsItMayBe) {
  std::string path = From("");
  for (int i = 0; i < 300; ++i) {
    path += "d/";
    ASSERT_EQ(mkdir(path.c_str(), 0755), 0);
  }
  EXPECT_EQ(Copy().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace berth::image
