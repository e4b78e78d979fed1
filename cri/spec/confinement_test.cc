#include "cri/spec/confinement.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::spec {
namespace {

using state::v1::AppArmorProfile;
using state::v1::Security;
using testing::StartsWith;

// A host as files: with or without AppArmor, with or without berth's own profile (and no parser to load it).
class AppArmorProfileTest : public testing::Test {
 protected:
  void TearDown() override {
    if (!dir_.empty()) (void)sys::RemoveTreeAt(AT_FDCWD, dir_);
  }
  std::unique_ptr<security::AppArmor> Host(const char* enabled, const char* profiles) {
    char name[] = "/tmp/berth-confinement-XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    EXPECT_TRUE(sys::MakeDirs(dir_ + "/apparmor", 0755).ok());
    auto dir = sys::Open(dir_, O_PATH | O_DIRECTORY), inner = sys::Open(dir_ + "/apparmor", O_PATH | O_DIRECTORY);
    EXPECT_TRUE(sys::ReplaceFileAt(dir->get(), "enabled", enabled, 0644).ok());
    EXPECT_TRUE(sys::ReplaceFileAt(inner->get(), "profiles", profiles, 0644).ok());
    return security::AppArmor::Probe({dir_, dir_ + "/enabled", {}});
  }
  static Security Wants(AppArmorProfile::Kind kind, const char* name = "") {
    Security s;
    s.mutable_apparmor()->set_kind(kind);
    s.mutable_apparmor()->set_name(name);
    return s;
  }
  std::string dir_;
};

TEST_F(AppArmorProfileTest, HostThatHasIt) {
  auto host = Host("Y\n", "berth-default (enforce)\nnginx (enforce)\n");
  EXPECT_EQ(*AppArmorProfileOf(Security(), *host), "berth-default");
  EXPECT_EQ(*AppArmorProfileOf(Wants(AppArmorProfile::RUNTIME_DEFAULT), *host), "berth-default");
  EXPECT_EQ(*AppArmorProfileOf(Wants(AppArmorProfile::UNCONFINED), *host), "");
  EXPECT_EQ(*AppArmorProfileOf(Wants(AppArmorProfile::LOCALHOST, "nginx"), *host), "nginx");
  absl::Status missing = AppArmorProfileOf(Wants(AppArmorProfile::LOCALHOST, "apache"), *host).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(missing));
  EXPECT_THAT(std::string(missing.message()), StartsWith("apparmor.localhost_ref"));
}

TEST_F(AppArmorProfileTest, PrivilegedContainersHaveNone) {
  auto host = Host("Y\n", "berth-default (enforce)\nnginx (enforce)\n");
  for (Security s : {Security(), Wants(AppArmorProfile::RUNTIME_DEFAULT), Wants(AppArmorProfile::LOCALHOST, "nginx")}) {
    s.set_privileged(true);
    EXPECT_EQ(*AppArmorProfileOf(s, *host), "");
  }
}

TEST_F(AppArmorProfileTest, HostWithoutIt) {
  auto host = Host("N\n", "");
  EXPECT_EQ(*AppArmorProfileOf(Security(), *host), "");
  EXPECT_EQ(*AppArmorProfileOf(Wants(AppArmorProfile::UNCONFINED), *host), "");
  absl::Status status = AppArmorProfileOf(Wants(AppArmorProfile::RUNTIME_DEFAULT), *host).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), StartsWith("apparmor.profile_type"));
  status = AppArmorProfileOf(Wants(AppArmorProfile::LOCALHOST, "nginx"), *host).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()), StartsWith("apparmor.localhost_ref"));
}

TEST_F(AppArmorProfileTest, HostThatCannotLoadTheDefault) {
  auto host = Host("Y\n", "nginx (enforce)\n");
  EXPECT_EQ(*AppArmorProfileOf(Security(), *host), "") << "nobody asked for it";
  EXPECT_TRUE(absl::IsFailedPrecondition(AppArmorProfileOf(Wants(AppArmorProfile::RUNTIME_DEFAULT), *host).status()));
}

TEST(SelinuxLabel, WhoRunsWithoutOne) {
  state::v1::PodSpec pod;
  Security s;
  EXPECT_FALSE(RunsWithoutSelinuxLabel(pod, s));
  s.set_privileged(true);
  EXPECT_TRUE(RunsWithoutSelinuxLabel(pod, s));
  s.set_privileged(false);
  s.mutable_namespaces()->set_pid(state::v1::NODE);
  EXPECT_TRUE(RunsWithoutSelinuxLabel(pod, s));
  s.clear_namespaces();
  pod.mutable_namespaces()->set_ipc(state::v1::NODE);
  EXPECT_TRUE(RunsWithoutSelinuxLabel(pod, s));
}

TEST(SeccompAgent, IsToldWhoseProcessItIs) {
  state::v1::Pod pod;
  pod.mutable_spec()->set_name("web");
  state::v1::Container container;
  container.set_id("c1");
  const std::string text = SeccompAgentState(pod, container, "meta \"data\"", false);
  EXPECT_THAT(text, testing::EndsWith("}}")) << "the shim adds to both objects";
  auto json = ParseJson(text);
  ASSERT_TRUE(json.ok()) << text;
  EXPECT_EQ((*json)["metadata"], "meta \"data\"");
  EXPECT_EQ((*json)["ociVersion"], "1.2.0");
  EXPECT_EQ((*json)["state"]["id"], "c1");
  EXPECT_EQ((*json)["state"]["status"], "creating");
  EXPECT_EQ((*json)["state"]["annotations"]["io.kubernetes.pod.name"], "web");
}

}  // namespace
}  // namespace berth::spec
