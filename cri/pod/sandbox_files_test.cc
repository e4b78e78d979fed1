#include "cri/pod/sandbox_files.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

using state::v1::PodSpec;
using testing::EndsWith;
using testing::HasSubstr;

TEST(ResolvConf, PodsOwnOrTheHosts) {
  PodSpec spec;
  EXPECT_EQ(FormatResolvConf(spec, "nameserver 9.9.9.9\n"), "nameserver 9.9.9.9\n");
  spec.mutable_dns();
  EXPECT_EQ(FormatResolvConf(spec, "nameserver 9.9.9.9\n"), "");
  spec.mutable_dns()->add_servers("10.0.0.10");
  spec.mutable_dns()->add_searches("svc.cluster.local");
  spec.mutable_dns()->add_searches("cluster.local");
  spec.mutable_dns()->add_options("ndots:5");
  EXPECT_EQ(FormatResolvConf(spec, ""),
            "search svc.cluster.local cluster.local\nnameserver 10.0.0.10\noptions ndots:5\n");
}

TEST(Hosts, NamesThePod) {
  PodSpec spec;
  EXPECT_THAT(FormatHosts(spec, "web", {"10.89.0.2"}, "host's"), EndsWith("10.89.0.2\tweb\n"));
  spec.mutable_namespaces()->set_network(state::v1::NODE);
  EXPECT_EQ(FormatHosts(spec, "web", {}, "host's"), "host's");
}

TEST(Hostname, RequestThenPodThenHost) {
  PodSpec spec;
  spec.set_name(std::string(80, 'n'));
  EXPECT_EQ(HostnameOf(spec, "node").size(), 63u);
  spec.mutable_namespaces()->set_network(state::v1::NODE);
  EXPECT_EQ(HostnameOf(spec, "node"), "node");
  spec.set_hostname("h");
  EXPECT_EQ(HostnameOf(spec, "node"), "h");
}

TEST(SandboxFiles, AreWrittenMountedAndGone) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: mounts a tmpfs and a namespace";
  ASSERT_EQ(unshare(CLONE_NEWNS), 0);
  char path[] = "/tmp/berth-sandbox-test-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  std::string dir = path;
  PodSpec spec;
  spec.set_hostname("web");
  ASSERT_TRUE(WriteSandboxFiles(dir, spec, {"10.1.2.3"}).ok());
  EXPECT_EQ(*sys::ReadFile(dir + "/hostname"), "web\n");
  EXPECT_THAT(*sys::ReadFile(dir + "/hosts"), HasSubstr("10.1.2.3\tweb"));

  ASSERT_TRUE(MountShm(dir, 64 << 20, PodSpec()).ok());
  struct statfs fs;
  ASSERT_EQ(statfs((dir + "/shm").c_str(), &fs), 0);
  EXPECT_EQ(fs.f_type, TMPFS_MAGIC);
  EXPECT_TRUE(UnmountShm(dir).ok());
  EXPECT_TRUE(UnmountShm(dir).ok());

  sys::UniqueFd ns = *sys::Open("/proc/self/ns/net", O_RDONLY);
  ASSERT_TRUE(PinNetns(ns.get(), dir + "/netns").ok());
  EXPECT_FALSE(PinNetns(ns.get(), dir + "/netns").ok());
  ASSERT_EQ(statfs((dir + "/netns").c_str(), &fs), 0);
  EXPECT_EQ(fs.f_type, NSFS_MAGIC);
  EXPECT_TRUE(UnpinNetns(dir + "/netns").ok());
  EXPECT_TRUE(UnpinNetns(dir + "/netns").ok());

  // Whatever lies there now, it goes: a second mount, a file that is no mount, a directory.
  const std::string pin = dir + "/netns";
  ASSERT_TRUE(PinNetns(ns.get(), pin).ok());
  ASSERT_EQ(mount(pin.c_str(), pin.c_str(), nullptr, MS_BIND, nullptr), 0);
  EXPECT_TRUE(UnpinNetns(pin).ok());
  EXPECT_NE(access(pin.c_str(), F_OK), 0);
  ASSERT_TRUE(PinNetns(ns.get(), pin).ok());
  ASSERT_EQ(umount(pin.c_str()), 0);
  EXPECT_TRUE(UnpinNetns(pin).ok());
  EXPECT_NE(access(pin.c_str(), F_OK), 0);
  ASSERT_TRUE(sys::MakeDirs(pin + "/a/b", 0755).ok());
  EXPECT_TRUE(UnpinNetns(pin).ok());
  EXPECT_NE(access(pin.c_str(), F_OK), 0);
  EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir).ok());
}

}  // namespace
}  // namespace berth::pod
