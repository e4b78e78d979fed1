#include "cri/spec/mount_sources.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "runtime/sys/file.h"

namespace berth::spec {
namespace {

using testing::StartsWith;

class MountSourcesTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-sources-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  state::v1::ContainerSpec Mounting(std::initializer_list<const char*> names) {
    state::v1::ContainerSpec spec;
    for (const char* name : names) spec.add_mounts()->set_host_path(dir_ + name);
    return spec;
  }
  std::string dir_;
};

TEST_F(MountSourcesTest, AreMadeAndRemovedAgain) {
  {
    MountSources sources;
    ASSERT_TRUE(sources.Make(Mounting({"/a/b/c", "/a/d", ""})).ok());
    struct stat st;
    ASSERT_EQ(stat((dir_ + "/a/b/c").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0755u);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(MountSourcesTest, WhatWasThereOrIsInUseStays) {
  ASSERT_EQ(mkdir((dir_ + "/there").c_str(), 0700), 0);
  {
    MountSources sources;
    ASSERT_TRUE(sources.Make(Mounting({"/there/new", "/there"})).ok());
    ASSERT_EQ(mkdir((dir_ + "/there/new/file").c_str(), 0700), 0);
  }
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/there/new/file"));
}

TEST_F(MountSourcesTest, AreKept) {
  {
    MountSources sources;
    ASSERT_TRUE(sources.Make(Mounting({"/a/b"})).ok());
    sources.Keep();
  }
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/a/b"));
}

TEST_F(MountSourcesTest, CannotBeMadeEverywhere) {
  ASSERT_EQ(symlink("nowhere", (dir_ + "/dangling").c_str()), 0);
  ASSERT_EQ(symlink("loop", (dir_ + "/loop").c_str()), 0);
  ASSERT_TRUE(sys::Open(dir_ + "/file", O_CREAT | O_WRONLY, 0600).ok());
  for (const char* name : {"/dangling", "/dangling/x", "/loop", "/file/x"}) {
    MountSources sources;
    absl::Status made = sources.Make(Mounting({"/first", name}));
    EXPECT_EQ(made.code(), absl::StatusCode::kFailedPrecondition) << name << made;
    EXPECT_THAT(std::string(made.message()), StartsWith("mounts.host_path: ")) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/first"));
}

}  // namespace
}  // namespace berth::spec
