#include "cli/manifest/cri_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::cli::manifest {
namespace {

namespace cri = ::runtime::v1;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Pod SmallPod() {
  Pod pod;
  pod.name = "web";
  pod.ns = "shop";
  pod.dns_policy = "Default";
  pod.containers.resize(1);
  pod.containers[0].name = "app";
  pod.containers[0].image = "web:1";
  return pod;
}

HostFacts Host() {
  HostFacts host;
  host.uid = "u-1";
  host.log_root = "/logs";
  host.volume_root = "/vol";
  host.memory_capacity = int64_t{4} << 30;
  return host;
}

cri::ContainerConfig Message(const Pod& pod, ContainerFacts facts = {}, bool init = false) {
  facts.image_id = "sha256:1";
  facts.mount_sources.resize(pod.containers[0].mounts.size(), "/src");
  return ContainerMessage(pod, pod.containers[0], init, Host(), facts);
}

TEST(SandboxMessage, NamesLogsAndNamespaces) {
  Pod pod = SmallPod();
  pod.labels["a"] = "b";
  pod.grace_seconds = 7;
  cri::PodSandboxConfig config = SandboxMessage(pod, Host());
  EXPECT_EQ(config.metadata().uid(), "u-1");
  EXPECT_EQ(config.hostname(), "web");
  EXPECT_EQ(config.log_directory(), "/logs/shop_web_u-1");
  EXPECT_EQ(config.labels().at("a"), "b");
  EXPECT_EQ(config.labels().at("io.kubernetes.pod.uid"), "u-1");
  EXPECT_EQ(config.annotations().at("io.kubernetes.pod.terminationGracePeriod"), "7");
  EXPECT_EQ(config.annotations().at("berth.cli/volumes"), "/vol/u-1");
  EXPECT_FALSE(config.has_dns_config());
  EXPECT_EQ(config.linux().cgroup_parent(), "");
  const auto& options = config.linux().security_context().namespace_options();
  EXPECT_EQ(options.network(), cri::POD);
  EXPECT_EQ(options.pid(), cri::CONTAINER);
  EXPECT_FALSE(config.linux().security_context().privileged());
}

TEST(SandboxMessage, HostNamespacesPortsAndPrivilege) {
  Pod pod = SmallPod();
  pod.host_network = pod.host_ipc = pod.share_process_namespace = true;
  pod.containers[0].privileged = true;
  Port udp{53, 5353, "UDP", "127.0.0.1"};
  pod.containers[0].ports = {udp};
  cri::PodSandboxConfig config = SandboxMessage(pod, Host());
  EXPECT_EQ(config.hostname(), "");
  EXPECT_TRUE(config.linux().security_context().privileged());
  EXPECT_EQ(config.linux().security_context().namespace_options().network(), cri::NODE);
  EXPECT_EQ(config.linux().security_context().namespace_options().pid(), cri::POD);
  ASSERT_EQ(config.port_mappings_size(), 1);
  EXPECT_EQ(config.port_mappings(0).protocol(), cri::UDP);
  EXPECT_EQ(config.port_mappings(0).host_port(), 5353);
}

TEST(SandboxMessage, LongNamesAreCutToAHostname) {
  Pod pod = SmallPod();
  pod.name = std::string(62, 'a') + ".b";
  EXPECT_EQ(SandboxMessage(pod, Host()).hostname(), std::string(62, 'a'));
}

TEST(ContainerMessage, SafeDefaults) {
  auto config = Message(SmallPod());
  const auto& security = config.linux().security_context();
  EXPECT_EQ(security.seccomp().profile_type(), cri::SecurityProfile::RuntimeDefault);
  EXPECT_TRUE(security.has_seccomp());
  EXPECT_FALSE(security.has_apparmor());
  EXPECT_FALSE(security.no_new_privs());
  EXPECT_THAT(security.masked_paths(), Contains("/proc/kcore"));
  EXPECT_THAT(security.readonly_paths(), Contains("/proc/sys"));
  EXPECT_EQ(config.linux().resources().oom_score_adj(), 1000);
  EXPECT_EQ(config.log_path(), "app/0.log");
  EXPECT_EQ(config.image().image(), "sha256:1");
  EXPECT_EQ(config.image().user_specified_image(), "web:1");
  EXPECT_EQ(config.labels().at("io.kubernetes.container.name"), "app");
  EXPECT_EQ(config.annotations().count("berth.cli/init"), 0u);
  EXPECT_EQ(Message(SmallPod(), {}, true).annotations().at("berth.cli/init"), "true");
}

TEST(ContainerMessage, PrivilegedAndUnmasked) {
  Pod pod = SmallPod();
  pod.containers[0].privileged = true;
  auto security = Message(pod).linux().security_context();
  EXPECT_TRUE(security.privileged());
  EXPECT_EQ(security.seccomp().profile_type(), cri::SecurityProfile::Unconfined);
  EXPECT_THAT(security.masked_paths(), IsEmpty());
  pod = SmallPod();
  pod.containers[0].unmasked_proc = true;
  EXPECT_THAT(Message(pod).linux().security_context().masked_paths(), IsEmpty());
}

TEST(ContainerMessage, UserComesFromManifestThenImage) {
  Pod pod = SmallPod();
  EXPECT_FALSE(Message(pod).linux().security_context().has_run_as_user());
  ContainerFacts by_name;
  by_name.image_username = "app";
  EXPECT_EQ(Message(pod, by_name).linux().security_context().run_as_username(), "app");
  ContainerFacts by_number;
  by_number.image_uid = 12;
  EXPECT_EQ(Message(pod, by_number).linux().security_context().run_as_user().value(), 12);
  pod.identity.user = 1000;
  pod.identity.group = 1001;
  pod.fs_group = 2000;
  pod.supplemental_groups = {3000};
  auto security = Message(pod, by_name).linux().security_context();
  EXPECT_EQ(security.run_as_user().value(), 1000);
  EXPECT_EQ(security.run_as_username(), "");
  EXPECT_EQ(security.run_as_group().value(), 1001);
  EXPECT_THAT(security.supplemental_groups(), ElementsAre(2000, 3000));
}

TEST(ContainerMessage, GroupWithoutAnyUserMeansRoot) {
  Pod pod = SmallPod();
  pod.identity.group = 5;
  EXPECT_TRUE(Message(pod).linux().security_context().has_run_as_user());
}

TEST(ContainerMessage, ResourcesEnvCommandAndMounts) {
  Pod pod = SmallPod();
  Container& app = pod.containers[0];
  app.resources = {250, 500, 1 << 20, 1 << 26};
  app.env = {{"PORT", "80", ""}};
  app.command = {"serve", "$(PORT)"};
  app.args = {"$$(PORT)"};
  app.mounts = {{"v", "/data", "", true}};
  app.allow_privilege_escalation = false;
  app.identity.seccomp = Profile{"Localhost", "my/p.json"};
  auto config = Message(pod);
  EXPECT_EQ(config.linux().resources().cpu_quota(), 50'000);
  EXPECT_EQ(config.linux().resources().cpu_period(), 100'000);
  EXPECT_EQ(config.linux().resources().cpu_shares(), 256);
  EXPECT_EQ(config.linux().resources().memory_limit_in_bytes(), 1 << 26);
  EXPECT_EQ(config.linux().resources().oom_score_adj(), 999);
  EXPECT_THAT(config.command(), ElementsAre("serve", "80"));
  EXPECT_THAT(config.args(), ElementsAre("$(PORT)"));
  EXPECT_EQ(config.envs(0).value(), "80");
  EXPECT_EQ(config.mounts(0).host_path(), "/src");
  EXPECT_TRUE(config.mounts(0).readonly());
  EXPECT_TRUE(config.linux().security_context().no_new_privs());
  EXPECT_EQ(config.linux().security_context().seccomp().localhost_ref(), "/var/lib/kubelet/seccomp/my/p.json");
}

}  // namespace
}  // namespace berth::cli::manifest
