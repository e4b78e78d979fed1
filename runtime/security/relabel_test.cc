// Labels are extended attributes, which root may set on a kernel without SELinux too.
#include "runtime/security/relabel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "runtime/sys/file.h"

namespace berth::security {
namespace {

constexpr char kName[] = "security.selinux";
const std::string kLabel = "system_u:object_r:container_file_t:s0:c1,c2";

class RelabelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "attributes of this kind need root";
    char name[] = "/tmp/berth-relabel-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    if (setxattr(name, kName, "u:r:t:s0", 9, 0) != 0) GTEST_SKIP() << "the file system of /tmp has no labels";
    for (const char* d : {"/volume", "/volume/a", "/volume/a/b", "/other"})
      ASSERT_EQ(mkdir((dir_ + d).c_str(), 0755), 0);
    for (const char* f : {"/volume/file", "/volume/a/b/file", "/other/file"}) Touch(f);
    ASSERT_EQ(symlink("../other", (dir_ + "/volume/dirlink").c_str()), 0);
    ASSERT_EQ(symlink("../../other/file", (dir_ + "/volume/a/link").c_str()), 0);
  }
  void TearDown() override {
    if (!dir_.empty()) (void)sys::RemoveTreeAt(AT_FDCWD, dir_);
  }
  void Touch(const std::string& name) { close(open((dir_ + name).c_str(), O_CREAT | O_WRONLY, 0644)); }
  std::string LabelOf(const std::string& name) {
    char text[256];
    const ssize_t n = lgetxattr((dir_ + name).c_str(), kName, text, sizeof text);
    return n <= 0 ? "" : std::string(text, static_cast<size_t>(n) - 1);
  }
  std::string dir_;
};

TEST_F(RelabelTest, AllThatLiesBeneathAndNothingElse) {
  ASSERT_TRUE(Relabel(dir_ + "/volume", kLabel).ok());
  for (const char* f : {"/volume", "/volume/a", "/volume/a/b", "/volume/file", "/volume/a/b/file", "/volume/dirlink",
                        "/volume/a/link"}) {
    EXPECT_EQ(LabelOf(f), kLabel) << f;
  }
  for (const char* f : {"/other", "/other/file"}) EXPECT_NE(LabelOf(f), kLabel) << f;
}

TEST_F(RelabelTest, OneFile) {
  ASSERT_TRUE(Relabel(dir_ + "/volume/file", kLabel).ok());
  EXPECT_EQ(LabelOf("/volume/file"), kLabel);
  EXPECT_NE(LabelOf("/volume"), kLabel);
}

TEST_F(RelabelTest, OtherMountsBeneathAreNotEntered) {
  const std::string inner = dir_ + "/volume/a";
  if (mount((dir_ + "/other").c_str(), inner.c_str(), nullptr, MS_BIND, nullptr) != 0)
    GTEST_SKIP() << "no right to mount";
  const absl::Status status = Relabel(dir_ + "/volume", kLabel);
  EXPECT_EQ(umount2(inner.c_str(), MNT_DETACH), 0);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(LabelOf("/volume/file"), kLabel);
  for (const char* f : {"/other", "/other/file"}) EXPECT_NE(LabelOf(f), kLabel) << f;
}

TEST_F(RelabelTest, FileSystemWithoutLabelsIsLeftAlone) {
  const char* path = "/proc/sys/kernel";
  if (setxattr(path, kName, "u:r:t:s0", 9, 0) == 0 || errno != ENOTSUP) GTEST_SKIP() << path << " has labels";
  EXPECT_TRUE(Relabel(path, kLabel).ok());
}

TEST_F(RelabelTest, TheHostsOwnDirectoriesAreRefused) {
  const std::string link = dir_ + "/volume/root";
  ASSERT_EQ(symlink("/", link.c_str()), 0);
  ASSERT_EQ(symlink("/usr", (dir_ + "/volume/usr").c_str()), 0);
  for (const std::string& path : {std::string("/"), std::string("/etc"), std::string("/usr/"), std::string("//etc/."),
                                  link, dir_ + "/volume/usr", dir_ + "/volume/usr/../var"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Relabel(path, kLabel))) << path;
  }
  EXPECT_FALSE(IsHostDirectory("/var/lib/kubelet/pods/x/volumes/y"));
  EXPECT_FALSE(IsHostDirectory("/home/me"));
}

TEST_F(RelabelTest, MissingPath) { EXPECT_TRUE(absl::IsNotFound(Relabel(dir_ + "/none", kLabel))); }

}  // namespace
}  // namespace berth::security
