#include "runtime/rootfs/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mount.h>

namespace berth::rootfs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Targets(const absl::StatusOr<std::vector<MountStep>>& plan) {
  std::vector<std::string> out;
  if (!plan.ok()) return {std::string(plan.status().message())};
  for (const MountStep& step : *plan) {
    out.push_back(absl::StrCat(step.target(), step.kind() == MountStep::ATTACH ? absl::StrCat(" fd", step.fd()) : "",
                               step.attrs() & MOUNT_ATTR_RDONLY ? " ro" : ""));
  }
  return out;
}

TEST(PlanTest, StandardMountsWithV2) {
  EXPECT_THAT(Targets(PlanMounts({.cgroup_v2 = true})),
              ElementsAre("/proc", "/dev", "/sys ro", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys/fs/cgroup ro"));
}

TEST(PlanTest, PrivilegedIsWritable) {
  EXPECT_THAT(Targets(PlanMounts({.privileged = true, .cgroup_v2 = true, .shm_fd = 4})),
              ElementsAre("/proc", "/dev", "/sys", "/dev/pts", "/dev/mqueue", "/dev/shm fd4", "/sys/fs/cgroup"));
}

TEST(PlanTest, HierarchiesOfV1LieInATmpfs) {
  EXPECT_THAT(Targets(PlanMounts({.cgroup_v1 = {{"memory", 7}, {"cpu,cpuacct", 8}}})),
              ElementsAre("/proc", "/dev", "/sys ro", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys/fs/cgroup ro",
                          "/sys/fs/cgroup/memory fd7", "/sys/fs/cgroup/cpu,cpuacct fd8"));
}

TEST(PlanTest, VolumesComeAfterTheirParentsInTheirOrder) {
  EXPECT_THAT(
      Targets(PlanMounts({.cgroup_v2 = true,
                          .volumes = {{"/a/b//c", 1}, {"/a", 2}, {"/a/./b/", 3}, {"/a", 4}, {"/etc/hosts", 5, true}}})),
      ElementsAre("/proc", "/dev", "/sys ro", "/a fd2", "/a fd4", "/dev/pts", "/dev/mqueue", "/dev/shm", "/a/b fd3",
                  "/etc/hosts fd5", "/sys/fs/cgroup ro", "/a/b/c fd1"));
}

TEST(PlanTest, AVolumeReplacesTheStandardMountOfItsPlace) {
  EXPECT_THAT(Targets(PlanMounts({.cgroup_v2 = true, .volumes = {{"/dev/shm/", 1}, {"/sys", 2}}})),
              ElementsAre("/proc", "/dev", "/sys fd2", "/dev/pts", "/dev/mqueue", "/dev/shm fd1", "/sys/fs/cgroup ro"));
}

TEST(PlanTest, AVolumeAtDevReplacesEverythingInIt) {
  auto plan = PlanMounts({.cgroup_v2 = true, .volumes = {{"/dev", 1}, {"/dev/shm", 2}, {"/devices", 3}}});
  EXPECT_THAT(Targets(plan),
              ElementsAre("/proc", "/sys ro", "/dev fd1", "/devices fd3", "/dev/shm fd2", "/sys/fs/cgroup ro"));
  EXPECT_FALSE(HasOwnDev(*plan));
  EXPECT_TRUE(HasOwnDev(*PlanMounts({})));
}

TEST(PlanTest, ASharedVolumeReplacesWhatTheHostWouldFindInIt) {
  MountPlanInput input;
  input.volumes = {{.target = "/sys", .fd = 1, .shared = true}};
  auto steps = PlanMounts(input);
  ASSERT_TRUE(steps.ok());
  for (const MountStep& step : *steps) EXPECT_NE(step.target().substr(0, 5), "/sys/") << step.target();
}

TEST(PlanTest, AVolumeAtTheCgroupsReplacesAllOfThem) {
  EXPECT_THAT(Targets(PlanMounts({.cgroup_v1 = {{"memory", 7}}, .volumes = {{"/sys/fs/cgroup", 1}}})),
              ElementsAre("/proc", "/dev", "/sys ro", "/dev/pts", "/dev/mqueue", "/dev/shm", "/sys/fs/cgroup fd1"));
}

TEST(PlanTest, BadTargetsAreRefused) {
  for (absl::string_view target : {"", "a/b", "/", "//.", "/a/../b", "/.."}) {
    auto plan = PlanMounts({.volumes = {{std::string(target), 1}}});
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument) << target;
    EXPECT_THAT(std::string(plan.status().message()), HasSubstr("mount target"));
  }
  EXPECT_FALSE(CleanTarget(absl::string_view("/a\0b", 4)).ok());
}

TEST(PlanTest, OptionsOfTheStandardMounts) {
  const std::vector<MountStep> plan = PlanMounts({.cgroup_v2 = true}).value();
  for (const MountStep& step : plan) {
    EXPECT_TRUE(step.attrs() & MOUNT_ATTR_NOSUID) << step.target();
    EXPECT_EQ((step.attrs() & MOUNT_ATTR_NODEV) == 0, step.target() == "/dev" || step.target() == "/dev/pts");
    EXPECT_EQ(step.options_size(), step.target() == "/dev/pts" ? 4 : step.kind() == MountStep::TMPFS ? 2 : 0);
  }
}

TEST(PlanMounts, SelinuxContextsWhereFilesAreTheContainersOwn) {
  MountPlanInput input;
  input.cgroup_v2 = true;
  auto steps = PlanMounts(input);
  ASSERT_TRUE(steps.ok()) << steps.status();
  const std::vector<MountStep> before = *steps;
  AddSelinuxContexts("", "", *steps);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_EQ((*steps)[i].options_size(), before[i].options_size());
  AddSelinuxContexts("u:r:own:s0:c1,c2", "u:r:pod:s0:c1,c2", *steps);
  for (const MountStep& step : *steps) {
    const std::string last = step.options_size() > 0 ? step.options(step.options_size() - 1) : "";
    if (step.kind() == MountStep::TMPFS || step.kind() == MountStep::DEVPTS) {
      EXPECT_EQ(last, "context=u:r:own:s0:c1,c2") << step.target();
    } else if (step.kind() == MountStep::MQUEUE) {
      EXPECT_EQ(last, "context=u:r:pod:s0:c1,c2");
    } else {
      EXPECT_EQ(step.options_size(), 0) << step.target();
    }
  }
}

}  // namespace
}  // namespace berth::rootfs
