#include "cri/spec/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace berth::spec {
namespace {

using state::v1::ContainerSpec;
using state::v1::PodSpec;
using testing::HasSubstr;
using testing::StartsWith;

PodSpec GoodPod() {
  PodSpec pod;
  pod.set_name("web");
  pod.set_namespace_("default");
  pod.set_log_directory("/var/log/pods/x");
  pod.set_cgroup_parent("/kubepods/pod1");
  (*pod.mutable_sysctls())["net.core.somaxconn"] = "1024";
  auto* p = pod.add_ports();
  p->set_container_port(80);
  p->set_host_port(8080);
  return pod;
}

ContainerSpec GoodContainer() {
  ContainerSpec c;
  c.set_name("app");
  c.set_image("busybox");
  c.set_log_path("app/0.log");
  return c;
}

state::v1::Mount* AddBind(ContainerSpec& c) {
  auto* m = c.add_mounts();
  m->set_container_path("/c");
  m->set_host_path("/h");
  return m;
}

state::v1::Mount* AddImage(ContainerSpec& c) {
  auto* m = c.add_mounts();
  m->set_container_path("/c");
  m->set_image("busybox");
  m->set_readonly(true);
  return m;
}

TEST(GoodMounts, AreAccepted) {
  ContainerSpec c = GoodContainer();
  auto* bind = AddBind(c);
  for (const char* option : {"noexec", "nosuid", "nodev", "noexec"}) bind->add_mount_options(option);
  bind->set_readonly(true);
  bind->set_recursive_readonly(true);
  auto* image = AddImage(c);
  image->set_image_sub_path("a/b..c/.");
  image->add_mount_options("noexec");
  image->set_recursive_readonly(true);
  EXPECT_TRUE(ValidateContainer(c, GoodPod()).ok()) << ValidateContainer(c, GoodPod());
}

struct PodCase {
  const char* field;
  std::function<void(PodSpec&)> spoil;
};
class BadPod : public testing::TestWithParam<PodCase> {};

TEST_P(BadPod, IsRefusedByField) {
  PodSpec pod = GoodPod();
  ASSERT_TRUE(ValidatePod(pod).ok()) << ValidatePod(pod);
  GetParam().spoil(pod);
  absl::Status s = ValidatePod(pod);
  EXPECT_EQ(s.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(s.message()), StartsWith(GetParam().field));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadPod,
    testing::Values(
        PodCase{"metadata.name", [](PodSpec& p) { p.clear_name(); }},
        PodCase{"metadata.namespace", [](PodSpec& p) { p.set_namespace_("a/b"); }},
        PodCase{"hostname", [](PodSpec& p) { p.set_hostname("a\nb"); }},
        PodCase{"hostname", [](PodSpec& p) { p.set_hostname(std::string(65, 'h')); }},
        PodCase{"log_directory", [](PodSpec& p) { p.set_log_directory("/var/log/../../etc"); }},
        PodCase{"namespace_options.network",
                [](PodSpec& p) { p.mutable_namespaces()->set_network(state::v1::TARGET); }},
        PodCase{"namespace_options.pid", [](PodSpec& p) { p.mutable_namespaces()->set_pid(state::v1::TARGET); }},
        PodCase{"linux.sysctls", [](PodSpec& p) { (*p.mutable_sysctls())["kernel.core_pattern"] = "|/x"; }},
        PodCase{"linux.sysctls",
                [](PodSpec& p) { (*p.mutable_sysctls())["kernel.shm_rmid_forced=1+kernel.core_pattern"] = "x"; }},
        PodCase{"linux.sysctls", [](PodSpec& p) { (*p.mutable_sysctls())["net.../../x"] = "x"; }},
        PodCase{"linux.sysctls", [](PodSpec& p) { p.mutable_namespaces()->set_network(state::v1::NODE); }},
        PodCase{"selinux_options.level", [](PodSpec& p) { p.mutable_selinux()->set_level("c1,c2"); }},
        PodCase{"dns_config", [](PodSpec& p) { p.mutable_dns()->add_searches("a\nnameserver 1.2.3.4"); }},
        PodCase{"port_mappings.host_port", [](PodSpec& p) { p.mutable_ports(0)->set_host_port(70000); }},
        PodCase{"port_mappings.container_port", [](PodSpec& p) { p.mutable_ports(0)->set_container_port(0); }},
        PodCase{"port_mappings.host_port", [](PodSpec& p) { *p.add_ports() = p.ports(0); }}));

TEST(ValidateSandbox, IdsAndProfilesAreCheckedThoughNobodyHasThem) {
  state::v1::Security s;
  EXPECT_TRUE(ValidateSandboxSecurity(s).ok());
  s.set_run_as_user(-1);
  EXPECT_THAT(std::string(ValidateSandboxSecurity(s).message()), StartsWith("run_as_user"));
  s.set_run_as_user(1);
  s.add_supplemental_groups(1LL << 31);
  EXPECT_THAT(std::string(ValidateSandboxSecurity(s).message()), StartsWith("supplemental_groups"));
  s.clear_supplemental_groups();
  s.mutable_seccomp()->set_path("/p.json");
  EXPECT_THAT(std::string(ValidateSandboxSecurity(s).message()), StartsWith("seccomp.localhost_ref"));
}

struct ContainerCase {
  const char* field;
  std::function<void(ContainerSpec&)> spoil;
};
class BadContainer : public testing::TestWithParam<ContainerCase> {};

TEST_P(BadContainer, IsRefusedByField) {
  ContainerSpec c = GoodContainer();
  ASSERT_TRUE(ValidateContainer(c, GoodPod()).ok()) << ValidateContainer(c, GoodPod());
  GetParam().spoil(c);
  absl::Status s = ValidateContainer(c, GoodPod());
  EXPECT_EQ(s.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(s.message()), StartsWith(GetParam().field));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadContainer,
    testing::Values(
        ContainerCase{"metadata.name", [](ContainerSpec& c) { c.set_name("../x"); }},
        ContainerCase{"image.image", [](ContainerSpec& c) { c.clear_image(); }},
        ContainerCase{"security_context.privileged",
                      [](ContainerSpec& c) { c.mutable_security()->set_privileged(true); }},
        ContainerCase{"run_as_group", [](ContainerSpec& c) { c.mutable_security()->set_run_as_group(1); }},
        ContainerCase{"run_as_user", [](ContainerSpec& c) { c.mutable_security()->set_run_as_user(-1); }},
        ContainerCase{"run_as_user", [](ContainerSpec& c) { c.mutable_security()->set_run_as_user(1LL << 32); }},
        ContainerCase{"run_as_username",
                      [](ContainerSpec& c) {
                        c.mutable_security()->set_run_as_user(1);
                        c.mutable_security()->set_run_as_username("x");
                      }},
        ContainerCase{"supplemental_groups",
                      [](ContainerSpec& c) { c.mutable_security()->add_supplemental_groups(-5); }},
        ContainerCase{"mounts.container_path", [](ContainerSpec& c) { c.add_mounts()->set_host_path("/x"); }},
        ContainerCase{"mounts.host_path", [](ContainerSpec& c) { c.add_mounts()->set_container_path("/x"); }},
        ContainerCase{"mounts.recursive_read_only",
                      [](ContainerSpec& c) {
                        auto* m = c.add_mounts();
                        m->set_container_path("/x");
                        m->set_host_path("/y");
                        m->set_recursive_readonly(true);
                      }},
        ContainerCase{"mounts.recursive_read_only",
                      [](ContainerSpec& c) {
                        auto* m = AddBind(c);
                        m->set_readonly(true);
                        m->set_recursive_readonly(true);
                        m->set_propagation(state::v1::Mount::HOST_TO_CONTAINER);
                      }},
        ContainerCase{"mounts.container_path", [](ContainerSpec& c) { AddBind(c)->set_container_path("rel"); }},
        ContainerCase{"mounts.container_path", [](ContainerSpec& c) { AddBind(c)->set_container_path("/a/../b"); }},
        ContainerCase{"mounts.container_path",
                      [](ContainerSpec& c) { AddBind(c)->set_container_path(std::string("/a\0b", 4)); }},
        ContainerCase{"mounts.container_path",
                      [](ContainerSpec& c) { AddBind(c)->set_container_path("/" + std::string(4095, 'a')); }},
        ContainerCase{"mounts.host_path", [](ContainerSpec& c) { AddBind(c)->set_host_path("rel"); }},
        ContainerCase{"mounts.host_path", [](ContainerSpec& c) { AddBind(c)->set_host_path(std::string("/a\0b", 4)); }},
        ContainerCase{"masked_paths",
                      [](ContainerSpec& c) {
                        AddBind(c)->set_propagation(state::v1::Mount::BIDIRECTIONAL);
                        c.mutable_security()->add_masked_paths("/c/./x");
                      }},
        ContainerCase{"readonly_paths",
                      [](ContainerSpec& c) {
                        AddBind(c)->set_propagation(state::v1::Mount::BIDIRECTIONAL);
                        c.mutable_security()->add_readonly_paths("/c");
                      }},
        ContainerCase{"mounts.mount_options", [](ContainerSpec& c) { AddBind(c)->add_mount_options("ro"); }},
        ContainerCase{"mounts.mount_options", [](ContainerSpec& c) { AddBind(c)->add_mount_options(""); }},
        ContainerCase{"mounts.mount_options", [](ContainerSpec& c) { AddImage(c)->add_mount_options("exec"); }},
        ContainerCase{"mounts.image_sub_path", [](ContainerSpec& c) { AddBind(c)->set_image_sub_path("d"); }},
        ContainerCase{"mounts.image_sub_path", [](ContainerSpec& c) { AddImage(c)->set_image_sub_path("/d"); }},
        ContainerCase{"mounts.image_sub_path", [](ContainerSpec& c) { AddImage(c)->set_image_sub_path("d/../.."); }},
        ContainerCase{"mounts.image_sub_path",
                      [](ContainerSpec& c) { AddImage(c)->set_image_sub_path(std::string("a\0b", 3)); }},
        ContainerCase{"mounts.host_path", [](ContainerSpec& c) { AddImage(c)->set_host_path("/h"); }},
        ContainerCase{"mounts.readonly", [](ContainerSpec& c) { AddImage(c)->set_readonly(false); }},
        ContainerCase{"mounts.propagation",
                      [](ContainerSpec& c) { AddImage(c)->set_propagation(state::v1::Mount::BIDIRECTIONAL); }},
        ContainerCase{"namespace_options.target_id",
                      [](ContainerSpec& c) { c.mutable_security()->mutable_namespaces()->set_pid(state::v1::TARGET); }},
        ContainerCase{"seccomp.localhost_ref",
                      [](ContainerSpec& c) { c.mutable_security()->mutable_seccomp()->set_path("/p.json"); }},
        ContainerCase{"devices.host_path", [](ContainerSpec& c) { c.add_devices()->set_host_path("dev/x"); }},
        ContainerCase{"devices.host_path", [](ContainerSpec& c) { c.add_devices(); }},
        ContainerCase{"devices.container_path",
                      [](ContainerSpec& c) {
                        c.add_devices()->set_host_path("/dev/x");
                        c.mutable_devices(0)->set_container_path("/dev/../x");
                      }},
        ContainerCase{"devices.permissions",
                      [](ContainerSpec& c) {
                        c.add_devices()->set_host_path("/dev/x");
                        c.mutable_devices(0)->set_permissions("rx");
                      }},
        ContainerCase{"CDI_devices", [](ContainerSpec& c) { c.add_cdi_devices("gpu0"); }},
        ContainerCase{"annotation cdi.k8s.io/a",
                      [](ContainerSpec& c) { (*c.mutable_annotations())["cdi.k8s.io/a"] = "v/c=1,"; }},
        ContainerCase{"seccomp.localhost_ref",
                      [](ContainerSpec& c) {
                        c.mutable_security()->mutable_seccomp()->set_kind(state::v1::SeccompProfile::LOCALHOST);
                        c.mutable_security()->mutable_seccomp()->set_path("p.json");
                      }},
        ContainerCase{"apparmor.localhost_ref",
                      [](ContainerSpec& c) { c.mutable_security()->mutable_apparmor()->set_name("x"); }},
        ContainerCase{"apparmor.localhost_ref",
                      [](ContainerSpec& c) {
                        c.mutable_security()->mutable_apparmor()->set_kind(state::v1::AppArmorProfile::LOCALHOST);
                      }},
        ContainerCase{"apparmor.localhost_ref",
                      [](ContainerSpec& c) {
                        c.mutable_security()->mutable_apparmor()->set_kind(state::v1::AppArmorProfile::LOCALHOST);
                        c.mutable_security()->mutable_apparmor()->set_name("x\nunconfined");
                      }},
        ContainerCase{"selinux_options.type",
                      [](ContainerSpec& c) { c.mutable_security()->mutable_selinux()->set_type("a:b"); }},
        ContainerCase{"selinux_options.level",
                      [](ContainerSpec& c) { c.mutable_security()->mutable_selinux()->set_level("s0:c1024"); }},
        ContainerCase{"working_dir", [](ContainerSpec& c) { c.set_working_dir("rel"); }},
        ContainerCase{"log_path", [](ContainerSpec& c) { c.set_log_path("../../etc/passwd"); }},
        ContainerCase{"envs.key", [](ContainerSpec& c) { c.add_envs()->set_key("A=B"); }},
        ContainerCase{"envs.value",
                      [](ContainerSpec& c) {
                        auto* e = c.add_envs();
                        e->set_key("A");
                        e->set_value(std::string("a\0b", 3));
                      }},
        ContainerCase{"stop_signal", [](ContainerSpec& c) { c.set_stop_signal("SIGNOPE"); }}));

}  // namespace
}  // namespace berth::spec
