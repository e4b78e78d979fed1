#include "cri/spec/volume_paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::spec {
namespace {

using state::v1::ContainerSpec;
using testing::ElementsAre;
using testing::HasSubstr;

ContainerSpec Mounting(std::initializer_list<const char*> paths) {
  ContainerSpec spec;
  for (const char* path : paths) spec.add_mounts()->set_container_path(path);
  return spec;
}

TEST(ConfigVolumes, CleanedOncePerPathParentsFirst) {
  auto volumes = ConfigVolumes({"/data/sub", "/var//lib/./db/", "data", "/data", "/../../etc"}, {});
  ASSERT_TRUE(volumes.ok()) << volumes.status();
  EXPECT_THAT(*volumes, ElementsAre("/data", "/data/sub", "/etc", "/var/lib/db"));
}

TEST(ConfigVolumes, MountsOfTheRequestWin) {
  const std::vector<std::string> declared = {"/a", "/b/c", "/d", "/dd"};
  EXPECT_THAT(*ConfigVolumes(declared, Mounting({"/a/", "/b", "/d/e"})), ElementsAre("/d", "/dd"));
  EXPECT_THAT(*ConfigVolumes(declared, Mounting({"/d", "/x"})), ElementsAre("/a", "/b/c", "/dd"));
}

TEST(SharedMountAbove, OnlyBidirectionalOnesCount) {
  ContainerSpec spec = Mounting({"/a", "/a/b/"});
  EXPECT_EQ(SharedMountAbove(spec, "/a/b/c"), "");
  spec.mutable_mounts(1)->set_propagation(state::v1::Mount::BIDIRECTIONAL);
  EXPECT_EQ(SharedMountAbove(spec, "/a//b/./c"), "/a/b/");
  EXPECT_EQ(SharedMountAbove(spec, "/a/b"), "/a/b/");
  EXPECT_EQ(SharedMountAbove(spec, "/a/bc"), "");
}

TEST(ConfigVolumes, WhatIsTheRuntimesIsRefused) {
  for (const char* path : {"/", "", "/proc", "/proc/self", "/sys/fs", "/dev", "/dev/shm", "/x/../proc", "/../sys"}) {
    auto volumes = ConfigVolumes({path}, {});
    EXPECT_EQ(volumes.status().code(), absl::StatusCode::kFailedPrecondition) << path;
    EXPECT_THAT(std::string(volumes.status().message()), HasSubstr("volume at")) << path;
  }
  EXPECT_TRUE(ConfigVolumes({"/processes", "/system", "/devices"}, {}).ok());
  EXPECT_FALSE(ConfigVolumes({std::string("/a\0b", 4)}, {}).ok());
}

}  // namespace
}  // namespace berth::spec
