#include "tests/bench/workload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::bench {
namespace {

const Workload kWorkload = {
    .image = "host/box:1", .run_id = "run-7", .cgroup_parent = "/bench/a/pods", .log_directory = "/logs"};

TEST(PodConfig, NamesAreNobodyElses) {
  v1::PodSandboxConfig one = PodConfig(kWorkload), other = PodConfig(kWorkload);
  EXPECT_NE(one.metadata().name(), other.metadata().name());
  EXPECT_NE(one.metadata().uid(), other.metadata().uid());
  EXPECT_NE(one.log_directory(), other.log_directory());
}

TEST(PodConfig, IsMarkedAndHasItsPlace) {
  v1::PodSandboxConfig config = PodConfig(kWorkload);
  EXPECT_EQ(config.labels().at(kRunLabel), "run-7");
  EXPECT_EQ(config.linux().cgroup_parent(), "/bench/a/pods");
  EXPECT_EQ(config.log_directory(), "/logs/" + config.metadata().name());
  EXPECT_LE(config.hostname().size(), 64u);
}

TEST(PodConfig, HasANetworkOfItsOwn) {
  const auto& options = PodConfig(kWorkload).linux().security_context().namespace_options();
  EXPECT_EQ(options.network(), v1::POD);
  EXPECT_EQ(options.pid(), v1::CONTAINER);
}

TEST(ContainerConfig, IsAsGuardedAsAKubeletsDefault) {
  v1::ContainerConfig config = ContainerConfig(kWorkload);
  const auto& security = config.linux().security_context();
  EXPECT_FALSE(security.privileged());
  EXPECT_EQ(security.seccomp().profile_type(), v1::SecurityProfile::RuntimeDefault);
  EXPECT_THAT(security.masked_paths(), ::testing::Contains("/proc/kcore"));
  EXPECT_THAT(security.readonly_paths(), ::testing::Contains("/proc/sys"));
  EXPECT_EQ(config.image().image(), "host/box:1");
  EXPECT_THAT(config.command(), ::testing::ElementsAre("sleep"));
}

}  // namespace
}  // namespace berth::bench
