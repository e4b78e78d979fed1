#include "cri/spec/sysctls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace berth::spec {
namespace {

using state::v1::PodSpec;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

PodSpec Pod(std::initializer_list<std::pair<std::string, std::string>> sysctls) {
  PodSpec pod;
  for (const auto& [key, value] : sysctls) (*pod.mutable_sysctls())[key] = value;
  return pod;
}

std::string ErrorOf(const PodSpec& pod) {
  absl::Status s = ValidateSysctls(pod);
  EXPECT_EQ(s.code(), absl::StatusCode::kInvalidArgument) << s;
  return std::string(s.message());
}

std::vector<std::string> Planned(const PodSpec& pod, const SysctlDefaults& defaults = {}) {
  std::vector<std::string> out;
  for (const Sysctl& s : PlanSysctls(pod, defaults))
    out.push_back(absl::StrCat(s.key, s.optional ? "?" : "", "=", s.value));
  return out;
}

TEST(SysctlTest, NamesInBothForms) {
  EXPECT_EQ(SysctlName("net.ipv4.conf.eth0/100.forwarding"), "net/ipv4/conf/eth0.100/forwarding");
  EXPECT_EQ(SysctlName("net/ipv4/conf/eth0.100/forwarding"), "net/ipv4/conf/eth0.100/forwarding");
  EXPECT_TRUE(ValidateSysctls(Pod({{"net/ipv4/ip_forward", "1"}, {"kernel/shmmax", "1"}})).ok());
  EXPECT_THAT(ErrorOf(Pod({{"net/ipv4/ip_forward", "1"}, {"net.ipv4.ip_forward", "0"}})), HasSubstr("given twice"));
}

TEST(SysctlTest, WhatIsNamespacedPasses) {
  EXPECT_TRUE(ValidateSysctls(Pod({{"kernel.msgmax", "1"},
                                   {"kernel.msgmnb", "1"},
                                   {"kernel.msgmni", "1"},
                                   {"kernel.sem", "32000 1024000000 500 32000"},
                                   {"kernel.shmall", "1"},
                                   {"kernel.shmmax", "1"},
                                   {"kernel.shmmni", "1"},
                                   {"kernel.shm_rmid_forced", "1"},
                                   {"fs.mqueue.msg_max", "10"},
                                   {"net.core.somaxconn", "1"}}))
                  .ok());
}

TEST(SysctlTest, WhatIsNotNamespacedIsRefused) {
  for (const char* key : {"kernel.core_pattern", "kernel/core_pattern", "kernel.hostname", "vm.swappiness",
                          "fs.file-max", "netx.y", "kernel.shmmaxx", "fs.mqueue", "kernel.msgmax.x"}) {
    EXPECT_THAT(ErrorOf(Pod({{key, "1"}})), HasSubstr(absl::StrCat(key, " is not namespaced")));
  }
}

TEST(SysctlTest, NamespacesOfTheHostAreLeftAlone) {  // CVE-2022-0532
  PodSpec pod = Pod({{"net.core.somaxconn", "1"}});
  pod.mutable_namespaces()->set_network(state::v1::NODE);
  EXPECT_THAT(ErrorOf(pod), HasSubstr("net.core.somaxconn with the host's network"));
  for (const char* key : {"kernel.sem", "fs.mqueue.msg_max", "kernel/shmmax"}) {
    pod = Pod({{key, "1"}});
    pod.mutable_namespaces()->set_ipc(state::v1::NODE);
    EXPECT_THAT(ErrorOf(pod), HasSubstr(absl::StrCat(key, " with the host's IPC")));
  }
}

TEST(SysctlTest, OneKeyCannotCarryAnother) {  // CVE-2022-0811
  for (const char* key : {"kernel.shm_rmid_forced=1+kernel.core_pattern", "net.a+net.b", "net.a b", "net.", "",
                          "net..a", "net/../kernel/panic", "net.ipv4./../x", "net.a\nb", "net.\xc3\xa4"}) {
    EXPECT_THAT(ErrorOf(Pod({{key, "1"}})), HasSubstr("is not the name of a sysctl")) << key;
  }
  for (const char* value : {"", "1\n2", "1\t2", "1\r", "\x7f", "\xc3\xa4"}) {
    EXPECT_THAT(ErrorOf(Pod({{"kernel.shmmax", value}})), HasSubstr("the value of kernel.shmmax")) << value;
  }
  EXPECT_THAT(ErrorOf(Pod({{"kernel.shmmax", std::string("1\0", 2)}})), HasSubstr("kernel.shmmax"));
  EXPECT_THAT(ErrorOf(Pod({{"kernel.shmmax", std::string(5000, '1')}})), HasSubstr("longer than"));
}

TEST(SysctlTest, DefaultsOnlyWhereTheyCanBe) {
  EXPECT_THAT(Planned(Pod({})),
              ElementsAre("net.ipv4.ip_unprivileged_port_start?=0", "net.ipv4.ping_group_range?=0 2147483647"));
  EXPECT_THAT(Planned(Pod({}), {false, false}), IsEmpty());
  PodSpec pod = Pod({{"net/ipv4/ping_group_range", "1 0"}, {"net.ipv4.ip_unprivileged_port_start", "80"}});
  EXPECT_THAT(Planned(pod), ElementsAre("net.ipv4.ip_unprivileged_port_start=80", "net/ipv4/ping_group_range=1 0"));
  pod = Pod({});
  pod.mutable_namespaces()->add_uids();
  EXPECT_THAT(Planned(pod), ElementsAre("net.ipv4.ip_unprivileged_port_start?=0"));
  pod.mutable_namespaces()->set_network(state::v1::NODE);
  EXPECT_THAT(Planned(pod), IsEmpty());
}

}  // namespace
}  // namespace berth::spec
