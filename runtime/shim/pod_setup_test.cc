#include "runtime/shim/pod_setup.h"

#include <gtest/gtest.h>

namespace berth::shim {
namespace {

v1::SandboxPlan Plan(v1::Namespace net, v1::Namespace ipc, v1::Namespace uts) {
  v1::SandboxPlan plan;
  plan.set_network(net);
  plan.set_ipc(ipc);
  plan.set_uts(uts);
  return plan;
}

TEST(Sysctl, KeysOfThePodsNamespacesBecomePaths) {
  const v1::SandboxPlan own = Plan(v1::NAMESPACE_NEW, v1::NAMESPACE_NEW, v1::NAMESPACE_NEW);
  EXPECT_EQ(*SysctlPath("net.ipv4.ip_forward", own), "sys/net/ipv4/ip_forward");
  EXPECT_EQ(*SysctlPath("net/ipv4/conf/eth0.5/rp_filter", own), "sys/net/ipv4/conf/eth0.5/rp_filter");
  EXPECT_EQ(*SysctlPath("net.ipv4.conf.eth0/5.rp_filter", own), "sys/net/ipv4/conf/eth0.5/rp_filter");
  EXPECT_EQ(*SysctlPath("kernel.shm_rmid_forced", own), "sys/kernel/shm_rmid_forced");
  EXPECT_EQ(*SysctlPath("kernel.msgmax", own), "sys/kernel/msgmax");
  EXPECT_EQ(*SysctlPath("fs.mqueue.msg_max", own), "sys/fs/mqueue/msg_max");
  EXPECT_EQ(*SysctlPath("kernel.domainname", own), "sys/kernel/domainname");
}

TEST(Sysctl, NothingOfTheHostCanBeNamed) {
  const v1::SandboxPlan own = Plan(v1::NAMESPACE_NEW, v1::NAMESPACE_NEW, v1::NAMESPACE_NEW);
  for (const char* bad :
       {"kernel.core_pattern", "kernel.panic", "vm.overcommit_memory", "kernel.shm_rmid_forced=1+kernel.x",
        "net/../kernel/core_pattern", "net..x", "", "net", "net.ipv4.x\n", "/net/ipv4/x", "fs.file-max"}) {
    EXPECT_FALSE(SysctlPath(bad, own).ok()) << bad;
  }
  EXPECT_FALSE(SysctlPath("net.ipv4.ip_forward", Plan(v1::NAMESPACE_HOST, v1::NAMESPACE_NEW, v1::NAMESPACE_NEW)).ok());
  EXPECT_FALSE(SysctlPath("kernel.sem", Plan(v1::NAMESPACE_NEW, v1::NAMESPACE_HOST, v1::NAMESPACE_NEW)).ok());
  EXPECT_FALSE(SysctlPath("kernel.hostname", Plan(v1::NAMESPACE_NEW, v1::NAMESPACE_NEW, v1::NAMESPACE_HOST)).ok());
}

}  // namespace
}  // namespace berth::shim
