#include "cli/pod/volumes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace berth::cli {
namespace {

using ::testing::HasSubstr;

class VolumesTest : public ::testing::Test {
 protected:
  VolumesTest() {
    char name[] = "/tmp/berth-vol-XXXXXX";
    directory_ = mkdtemp(name);
    host_.uid = "u1";
    host_.volume_root = directory_ + "/volumes";
  }
  ~VolumesTest() override { std::filesystem::remove_all(directory_); }

  absl::Status HostPath(const std::string& path, const std::string& type) {
    manifest::Pod pod;
    pod.volumes = {{"v", false, path, type}};
    return MakeVolumes(pod, host_).status();
  }
  absl::StatusOr<std::vector<std::string>> SubPath(const std::string& sub) {
    manifest::Container container;
    container.mounts = {{"v", "/v", sub, false}};
    return MountSources(container, {{"v", directory_}});
  }

  std::string directory_;
  manifest::HostFacts host_;
};

TEST_F(VolumesTest, EmptyDirsAreOpenToTheGroup) {
  manifest::Pod pod;
  pod.volumes = {{"a", true, "", ""}};
  auto paths = MakeVolumes(pod, host_);
  ASSERT_TRUE(paths.ok()) << paths.status();
  struct stat st;
  ASSERT_EQ(stat(paths->at("a").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0777u);
  if (geteuid() != 0) GTEST_SKIP() << "giving a directory to a group that is not one's own needs root";
  pod.fs_group = 2345;
  ASSERT_TRUE(MakeVolumes(pod, host_).ok());
  ASSERT_EQ(stat(paths->at("a").c_str(), &st), 0);
  EXPECT_EQ(st.st_gid, 2345u);
  EXPECT_EQ(st.st_mode & 07777, 02777u);
}

TEST_F(VolumesTest, EmptyDirDoesNotFollowALinkInItsPlace) {
  ASSERT_TRUE(std::filesystem::create_directories(host_.volume_root + "/u1"));
  ASSERT_EQ(symlink("/tmp", (host_.volume_root + "/u1/a").c_str()), 0);
  manifest::Pod pod;
  pod.volumes = {{"a", true, "", ""}};
  EXPECT_FALSE(MakeVolumes(pod, host_).ok());
}

TEST_F(VolumesTest, HostPathTypes) {
  std::string file = directory_ + "/file";
  EXPECT_TRUE(HostPath(directory_ + "/none", "").ok());
  EXPECT_THAT(std::string(HostPath(file, "File").message()), HasSubstr("does not exist"));
  EXPECT_TRUE(HostPath(file, "FileOrCreate").ok());
  EXPECT_TRUE(HostPath(file, "FileOrCreate").ok());
  EXPECT_TRUE(HostPath(file, "File").ok());
  EXPECT_THAT(std::string(HostPath(file, "DirectoryOrCreate").message()), HasSubstr("is not a DirectoryOrCreate"));
  EXPECT_TRUE(HostPath(directory_ + "/d/e", "DirectoryOrCreate").ok());
  EXPECT_TRUE(HostPath(directory_ + "/d/e", "Directory").ok());
  EXPECT_TRUE(HostPath("/dev/null", "CharDevice").ok());
  EXPECT_FALSE(HostPath("/dev/null", "BlockDevice").ok());
  EXPECT_FALSE(HostPath("/dev/null", "Socket").ok());
}

TEST_F(VolumesTest, SubPathsStayInside) {
  EXPECT_EQ(SubPath("")->at(0), directory_);
  EXPECT_EQ(SubPath("a/b")->at(0), directory_ + "/a/b");
  ASSERT_EQ(symlink("/", (directory_ + "/root").c_str()), 0);
  ASSERT_EQ(symlink("../../..", (directory_ + "/up").c_str()), 0);
  EXPECT_EQ(SubPath("root/a")->at(0), directory_ + "/a");
  EXPECT_EQ(SubPath("up/a/b")->at(0), directory_ + "/a/b");
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_EQ(SubPath("file")->at(0), directory_ + "/file");
  EXPECT_FALSE(SubPath("file/x").ok());
}

TEST_F(VolumesTest, RemoveDirectoryIsCareful) {
  for (const char* bad : {"", "/", "/x", "x", "/tmp/"}) EXPECT_FALSE(RemoveDirectory(bad).ok()) << bad;
  EXPECT_TRUE(RemoveDirectory(directory_ + "/no/such").ok());
  std::filesystem::create_directories(directory_ + "/tree/x");
  ASSERT_EQ(symlink("/etc", (directory_ + "/tree/link").c_str()), 0);
  EXPECT_TRUE(RemoveDirectory(directory_ + "/tree").ok());
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/tree"));
  EXPECT_TRUE(std::filesystem::exists("/etc/passwd"));
}

}  // namespace
}  // namespace berth::cli
