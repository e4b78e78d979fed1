#include "cri/network/embedded_network.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <set>
#include <thread>

#include "absl/time/clock.h"
#include "cri/network/fake_host.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr Protocol kTcp = Protocol::kTcp, kUdp = Protocol::kUdp;

struct TestPod {
  explicit TestPod(char digit, std::vector<PortMapping> ports = {}) {
    request.pod = PodId(std::string(64, digit));
    request.pod_name = absl::StrCat("pod-", std::string(1, digit));
    request.pod_namespace = "default";
    request.netns_path = netns.path();
    request.ports = std::move(ports);
  }
  Netns netns;
  PodRequest request;
};

class EmbeddedNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    char dir[] = "/tmp/berth-network-test-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    dir_ = dir;
    host_ = std::make_unique<FakeHost>();
  }
  void TearDown() override {
    if (dir_.empty()) return;
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok());
  }
  void Start(absl::string_view subnet = "10.89.0.0/16") {
    network_.reset();
    auto network = NewEmbeddedNetwork({.subnet = std::string(subnet), .state_dir = dir_ + "/leases"});
    ASSERT_TRUE(network.ok()) << network.status();
    network_ = *std::move(network);
  }
  std::string Attach(TestPod& pod) {
    auto addresses = network_->Attach(pod.request);
    EXPECT_TRUE(addresses.ok()) << addresses.status();
    return addresses.ok() ? addresses->ips.front() : "";
  }
  // Everything that a pod could leave behind. Packet counters and the pod's own dying link are left out.
  std::string Leftovers() {
    return Sh("nft -s list ruleset; ls " + dir_ + "/leases; ip -4 addr | grep inet; ip route | sed 's, linkdown,,'");
  }
  std::string dir_;
  std::unique_ptr<FakeHost> host_;
  std::unique_ptr<PodNetwork> network_;
};

TEST_F(EmbeddedNetworkTest, PodsReachEachOtherTheHostAndTheWorld) {
  Start();
  ASSERT_TRUE(network_->Ready().ok()) << network_->Ready();
  TestPod a('a'), b('b');
  std::string ip_a = Attach(a), ip_b = Attach(b);
  EXPECT_EQ(ip_a, "10.89.0.2");
  EXPECT_EQ(ip_b, "10.89.0.3");
  Server in_a(&a.netns, kTcp, 80), outside(&host_->outside, kTcp, 80), on_host(nullptr, kTcp, 81);
  EXPECT_EQ(Ask(&b.netns, kTcp, ip_a, 80), ip_b) << "pods see each other's own address";
  EXPECT_EQ(Ask(nullptr, kTcp, ip_a, 80), "10.89.0.1");
  EXPECT_EQ(Ask(&a.netns, kTcp, "10.89.0.1", 81), ip_a);
  EXPECT_EQ(Ask(&a.netns, kTcp, "192.0.2.2", 80), "192.0.2.1") << "masqueraded";
  int status = 1;
  EXPECT_THAT(ShIn(b.netns, "ping -c1 -W1 " + ip_a, &status), HasSubstr("1 received"));
  EXPECT_EQ(status, 0);
}

TEST_F(EmbeddedNetworkTest, PodHasLoopbackMtuAndNoRouterAdvertisements) {
  Sh("ip link set up0 mtu 1400");
  Start();
  TestPod a('a');
  Attach(a);
  EXPECT_THAT(ShIn(a.netns, "ip link show lo"), HasSubstr("UP"));
  EXPECT_THAT(ShIn(a.netns, "ip link show eth0"), HasSubstr("mtu 1400"));
  EXPECT_THAT(ShIn(a.netns, "ip link show eth0"), HasSubstr("0a:58:0a:59:00:02"));
  EXPECT_EQ(ShIn(a.netns, "cat /proc/sys/net/ipv6/conf/eth0/accept_ra"), "0");
  EXPECT_EQ(Sh("cat /proc/sys/net/ipv6/conf/berth0/accept_ra"), "0");
  EXPECT_EQ(Sh("cat /proc/sys/net/ipv4/ip_forward"), "1");
}

TEST_F(EmbeddedNetworkTest, PublishedPortsFromEverywhere) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}, {kUdp, 53, 5353, ""}, {kTcp, 80, 9090, "127.0.0.1"}}), b('b');
  std::string ip_a = Attach(a), ip_b = Attach(b);
  Server tcp(&a.netns, kTcp, 80), udp(&a.netns, kUdp, 53);
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2") << "the client's address is kept";
  EXPECT_EQ(Ask(&host_->outside, kUdp, "192.0.2.1", 5353), "192.0.2.2");
  EXPECT_EQ(Ask(nullptr, kTcp, "127.0.0.1", 8080), "10.89.0.1");
  EXPECT_EQ(Ask(nullptr, kUdp, "127.0.0.1", 5353), "10.89.0.1");
  EXPECT_EQ(Ask(nullptr, kTcp, "192.0.2.1", 8080), "192.0.2.1");
  EXPECT_EQ(Ask(&b.netns, kTcp, "192.0.2.1", 8080), "10.89.0.1") << "another pod, answered through the host";
  EXPECT_EQ(Ask(&a.netns, kTcp, "192.0.2.1", 8080), "10.89.0.1") << "the pod itself: hairpin";
  EXPECT_EQ(Ask(nullptr, kTcp, "127.0.0.1", 9090), "10.89.0.1");
  EXPECT_THAT(Ask(&host_->outside, kTcp, "192.0.2.1", 9090), HasSubstr("error")) << "published on loopback only";
}

// A resolver that keeps asking from one port must find the pod that comes later, and again its successor.
TEST_F(EmbeddedNetworkTest, AUdpClientThatNeverPausesFollowsThePort) {
  Start();
  TestPod a('a', {{kUdp, 53, 5353, ""}}), b('b', {{kUdp, 53, 5353, ""}}), first('c', {{kTcp, 80, 8080, ""}});
  Attach(first);  // address translation, and with it connection tracking, is at work
  auto ask = [&] { return Ask(&host_->outside, kUdp, "192.0.2.1", 5353, 4444); };
  EXPECT_THAT(ask(), HasSubstr("error"));
  Attach(a);
  Server in_a(&a.netns, kUdp, 53), in_b(&b.netns, kUdp, 53);
  EXPECT_EQ(ask(), "192.0.2.2");
  ASSERT_TRUE(network_->Detach(a.request).ok());
  EXPECT_THAT(ask(), HasSubstr("error"));
  Attach(b);
  EXPECT_EQ(ask(), "192.0.2.2");
}

TEST_F(EmbeddedNetworkTest, ManyPodsAtOnce) {
  Start();
  std::string before = Leftovers();
  std::vector<std::unique_ptr<TestPod>> pods;
  for (char c : {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b'}) {
    pods.push_back(std::make_unique<TestPod>(c, std::vector<PortMapping>{{kTcp, 80, 8000 + c, ""}}));
  }
  std::vector<std::string> ips(pods.size());
  auto all = [&](auto&& work) {
    std::vector<std::thread> threads;
    for (size_t i = 0; i < pods.size(); ++i) threads.emplace_back([&, i] { work(i); });
    for (std::thread& thread : threads) thread.join();
  };
  all([&](size_t i) { ips[i] = Attach(*pods[i]); });
  EXPECT_EQ(std::set<std::string>(ips.begin(), ips.end()).size(), pods.size());
  for (size_t i = 0; i < pods.size(); ++i) {
    Server server(&pods[i]->netns, kTcp, 80);
    EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", pods[i]->request.ports[0].host_port), "192.0.2.2");
  }
  all([&](size_t i) { EXPECT_TRUE(network_->Detach(pods[i]->request).ok()); });
  EXPECT_EQ(Leftovers(), before);
}

// CVE-2020-8558: route_localnet must not let neighbours into services that listen on the host's loopback.
TEST_F(EmbeddedNetworkTest, AttackPodReachesHostLoopbackService) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}});
  Attach(a);
  Server secret(nullptr, kTcp, 10250, "127.0.0.1");
  ASSERT_EQ(Ask(nullptr, kTcp, "127.0.0.1", 10250), "127.0.0.1");
  ShIn(a.netns,
       "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo;"
       "ip route del local 127.0.0.0/8 dev lo table local; ip route add 127.0.0.0/8 via 10.89.0.1");
  EXPECT_THAT(Ask(&a.netns, kTcp, "127.0.0.1", 10250), HasSubstr("error"));
}

TEST_F(EmbeddedNetworkTest, DetachLeavesNothing) {
  Start();
  std::string before = Leftovers();
  auto a = std::make_unique<TestPod>('a', std::vector<PortMapping>{{kTcp, 80, 8080, ""}, {kTcp, 80, 81, "192.0.2.1"}});
  Attach(*a);
  EXPECT_NE(Leftovers(), before);
  EXPECT_THAT(Sh("ip -o link"), HasSubstr("bvaaaaaaaaaaaa"));
  ASSERT_TRUE(network_->Detach(a->request).ok());
  EXPECT_EQ(Leftovers(), before);
  ASSERT_TRUE(network_->Detach(a->request).ok()) << "idempotent";
  PodRequest gone = a->request;
  gone.netns_path = "";
  EXPECT_TRUE(network_->Detach(gone).ok());
  a.reset();  // the owner drops the namespace
  for (int i = 0; i < 100 && Sh("ip -o link").find("bvaaaaaaaaaaaa") != std::string::npos; ++i) {
    absl::SleepFor(absl::Milliseconds(20));
  }
  EXPECT_THAT(Sh("ip -o link"), Not(HasSubstr("bvaaaaaaaaaaaa")));
}

TEST_F(EmbeddedNetworkTest, ADetachedPodWhoseNamespaceStaysIsCutOff) {
  Start("10.89.0.0/30");  // one address for all
  TestPod a('a'), b('b');
  std::string ip = Attach(a);
  EXPECT_EQ(network_->Attach(b.request).status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(network_->Detach(a.request).ok());
  EXPECT_EQ(Attach(b), ip);
  Server in_b(&b.netns, kTcp, 80);
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(Ask(&a.netns, kTcp, "10.89.0.1", 80), HasSubstr("error"));
    EXPECT_EQ(Ask(nullptr, kTcp, ip, 80), "10.89.0.1");
  }
}

TEST_F(EmbeddedNetworkTest, HostPortConflicts) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}}), b('b', {{kTcp, 81, 8080, ""}}), c('c', {{kTcp, 80, 7070, ""}});
  Attach(a);
  std::string before = Leftovers();
  absl::Status taken = network_->Attach(b.request).status();
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(taken.message()), HasSubstr("host port 8080/tcp is already used by pod default/pod-a"));
  Server process(nullptr, kTcp, 7070);
  absl::Status bound = network_->Attach(c.request).status();
  EXPECT_EQ(bound.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(bound.message()), HasSubstr("host port 7070/tcp is bound by a process of the host"));
  EXPECT_EQ(Leftovers(), before);
  ASSERT_TRUE(network_->Detach(a.request).ok());
  Attach(b);
}

TEST_F(EmbeddedNetworkTest, AFailedAttachLeavesNothing) {
  Start();
  std::string before = Leftovers(), links = Sh("ip -o link");
  TestPod a('a', {{kTcp, 80, 8080, ""}});
  ShIn(a.netns, "ip link add eth0 type bridge");  // so the pod's interface cannot be made
  EXPECT_FALSE(network_->Attach(a.request).ok());
  PodRequest no_netns = a.request;
  no_netns.netns_path = "/etc/passwd";
  EXPECT_EQ(network_->Attach(no_netns).status().code(), absl::StatusCode::kInvalidArgument);
  no_netns.netns_path = "/nowhere";
  EXPECT_EQ(network_->Attach(no_netns).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Leftovers(), before);
  EXPECT_EQ(Sh("ip -o link"), links);
}

TEST_F(EmbeddedNetworkTest, ARestartKeepsPodsAndForgetsTheGone) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}}), c('c');
  auto b = std::make_unique<TestPod>('b');
  std::string ip = Attach(a);
  Attach(*b);
  Attach(c);
  Server in_a(&a.netns, kTcp, 80);
  network_.reset();
  Sh("nft flush ruleset; rm " + dir_ + "/leases/cccc*; ip link del bvbbbbbbbbbbbb");
  Start();
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2");
  EXPECT_THAT(network_->Describe(), HasSubstr("default/pod-b is dropped"));
  EXPECT_THAT(Sh("ip -o link"), Not(HasSubstr("bvcccccccccccc"))) << "a veth without a lease";
  TestPod d('d', {{kTcp, 80, 8080, ""}});
  EXPECT_EQ(network_->Attach(d.request).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(network_->Detach(a.request).ok());
  EXPECT_NE(Attach(d), ip);
}

TEST_F(EmbeddedNetworkTest, AttachAgainAfterACrashInTheMiddle) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}});
  Attach(a);
  Start();
  TestPod again('a', {{kTcp, 80, 8080, ""}});  // the same pod with a new namespace; the old one is still pinned
  Attach(again);
  Server server(&again.netns, kTcp, 80);
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2");
}

TEST_F(EmbeddedNetworkTest, AFlushedRulesetComesBack) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}});
  Attach(a);
  Server server(&a.netns, kTcp, 80);
  Sh("nft flush ruleset");
  EXPECT_THAT(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), HasSubstr("error"));
  EXPECT_TRUE(network_->Ready().ok());
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2");
  Sh("nft flush ruleset");
  EXPECT_TRUE(network_->Detach(a.request).ok());
}

TEST_F(EmbeddedNetworkTest, ADeletedBridgeIsMadeAgain) {
  Start();
  Sh("ip link del berth0");
  ASSERT_TRUE(network_->Ready().ok()) << network_->Ready();
  TestPod a('a');
  std::string ip = Attach(a);
  Server server(&a.netns, kTcp, 80);
  EXPECT_EQ(Ask(nullptr, kTcp, ip, 80), "10.89.0.1");
}

TEST_F(EmbeddedNetworkTest, ADeletedBridgeGetsItsPodsBack) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}}), b('b');
  std::string ip = Attach(a);
  Sh("ip link del berth0");
  Attach(b);  // sees it, without anybody who asked Ready
  Server server(&a.netns, kTcp, 80);
  EXPECT_EQ(Ask(&b.netns, kTcp, ip, 80), "10.89.0.3");
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2");
  EXPECT_EQ(Ask(&a.netns, kTcp, "192.0.2.1", 8080), "10.89.0.1") << "hairpin";
}

TEST_F(EmbeddedNetworkTest, AFullDiskIsAnErrorThatLeavesNothing) {
  Start("10.89.0.0/30");  // one address
  const std::string before = Leftovers(), links = Sh("ip -o link"), leases = dir_ + "/leases";
  network_.reset();
  ASSERT_EQ(mount("none", leases.c_str(), "tmpfs", 0, "size=4k"), 0);
  Start("10.89.0.0/30");
  Sh("head -c 4096 /dev/zero > " + leases + "/ballast");
  TestPod a('a', {{kTcp, 80, 8080, ""}});
  absl::Status full = network_->Attach(a.request).status();
  EXPECT_EQ(ErrnoOf(full), ENOSPC) << full;
  EXPECT_EQ(Sh("ls -A " + leases), "ballast");
  EXPECT_FALSE(network_->HasAttachment(a.request.pod));
  Sh("rm " + leases + "/ballast");
  EXPECT_EQ(Leftovers(), before);
  EXPECT_EQ(Sh("ip -o link | wc -l"), std::to_string(std::count(links.begin(), links.end(), '\n') + 1));
  EXPECT_EQ(Attach(a), "10.89.0.2") << "its address was not lost";
  EXPECT_TRUE(network_->Detach(a.request).ok());
  network_.reset();
  EXPECT_EQ(umount(leases.c_str()), 0);
}

TEST_F(EmbeddedNetworkTest, AfterARebootEveryLeaseIsVoid) {
  Start();
  std::string before = Leftovers();
  {
    TestPod a('a', {{kTcp, 80, 8080, ""}});
    Attach(a);
    Sh("cp -r " + dir_ + "/leases " + dir_ + "/kept");
    ASSERT_TRUE(network_->Detach(a.request).ok());
  }
  network_.reset();
  Sh("touch " + dir_ + "/kept/.torn.json.new; mv " + dir_ + "/kept/.??* " + dir_ + "/kept/* " + dir_ +
     "/leases; ip link del bvaaaaaaaaaaaa; nft flush ruleset");
  Start();
  EXPECT_EQ(Leftovers(), before);
  EXPECT_EQ(Sh("ls -A " + dir_ + "/leases"), "");
  PodRequest of_old;
  of_old.pod = PodId(std::string(64, 'a'));
  EXPECT_TRUE(network_->Detach(of_old).ok());
}

TEST_F(EmbeddedNetworkTest, CollectsWhatIsOfNoPod) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}}), b('b', {{kTcp, 80, 9090, ""}});
  Attach(a);
  std::string before = Leftovers();
  Attach(b);
  Sh("ip link add bvdeaddeaddead type veth peer name other0; ip link set bvdeaddeaddead master berth0;"
     "nft add element ip berth-berth0 any_address '{ tcp . 99 : 10.89.0.77 . 80 }'");
  ASSERT_TRUE(network_->CollectGarbage([&] { return std::set<PodId>{a.request.pod}; }).ok());
  EXPECT_EQ(Leftovers(), before);
  EXPECT_THAT(Sh("ip -o link"), Not(HasSubstr("bvdeaddeaddead")));
  EXPECT_FALSE(network_->HasAttachment(b.request.pod));
  Server server(&a.netns, kTcp, 80);
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2");
}

TEST_F(EmbeddedNetworkTest, RulesOfTwoDaemonsBeforeGoToo) {
  Sh("iptables -P FORWARD DROP");
  for (int i = 0; i < 2; ++i) Sh("iptables -I FORWARD -i berth0 -j ACCEPT; iptables -I FORWARD -o berth0 -j ACCEPT");
  Sh("nft add table ip berth-berth0; nft add chain ip berth-berth0 old; nft add rule ip berth-berth0 old drop");
  Start();
  EXPECT_THAT(Sh("nft list ruleset"), Not(HasSubstr("chain old")));
  network_.reset();
  EXPECT_EQ(Sh("iptables -S FORWARD"), "-P FORWARD DROP");
  EXPECT_THAT(Sh("nft list ruleset"), Not(HasSubstr("berth")));
}

TEST_F(EmbeddedNetworkTest, DetachNeedsNoBridge) {
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}});
  Attach(a);
  network_.reset();
  Sh("ip link del berth0; ip link add podman0 type bridge; ip addr add 10.89.7.1/24 dev podman0; ip link set podman0 "
     "up");
  Start();
  EXPECT_FALSE(network_->Ready().ok()) << "no bridge can be made";
  EXPECT_TRUE(network_->HasAttachment(a.request.pod));
  absl::Status detached = network_->Detach(a.request);
  EXPECT_TRUE(detached.ok()) << detached;
  EXPECT_EQ(Sh("ls " + dir_ + "/leases"), "");
}

TEST_F(EmbeddedNetworkTest, PassesAnIptablesForwardChainThatDrops) {
  int status = 1;
  Sh("iptables -P FORWARD DROP && iptables -A FORWARD -i docker0 -j ACCEPT", &status);
  ASSERT_EQ(status, 0);
  Start();
  TestPod a('a', {{kTcp, 80, 8080, ""}});
  Attach(a);
  Server inside(&a.netns, kTcp, 80), outside(&host_->outside, kTcp, 80);
  EXPECT_EQ(Ask(&a.netns, kTcp, "192.0.2.2", 80), "192.0.2.1");
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2");
  ASSERT_TRUE(network_->Ready().ok());
  // iptables still understands its chain, and the rules are there once.
  EXPECT_EQ(Sh("iptables -S FORWARD"),
            "-P FORWARD DROP\n-A FORWARD -o berth0 -j ACCEPT\n-A FORWARD -i berth0 -j ACCEPT\n"
            "-A FORWARD -i docker0 -j ACCEPT");
}

TEST_F(EmbeddedNetworkTest, ASubnetInUseIsRefusedUntilItIsFree) {
  Sh("ip link add podman0 type bridge; ip addr add 10.89.7.1/24 dev podman0; ip link set podman0 up");
  Start();
  absl::Status status = network_->Ready();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("subnet 10.89.0.0/16 is in use: route to 10.89.7.0/24"));
  TestPod a('a');
  EXPECT_FALSE(network_->Attach(a.request).ok());
  Sh("ip link del podman0");
  EXPECT_TRUE(network_->Ready().ok());
}

TEST_F(EmbeddedNetworkTest, RefusesOptionsThatCannotWork) {
  std::string state = dir_ + "/leases";
  EXPECT_FALSE(NewEmbeddedNetwork({.bridge = "a-name-that-is-too-long", .state_dir = state}).ok());
  EXPECT_FALSE(NewEmbeddedNetwork({.bridge = "x\" drop", .state_dir = state}).ok());
  EXPECT_FALSE(NewEmbeddedNetwork({.subnet = "fd00::/64", .state_dir = state}).ok());
  EXPECT_FALSE(NewEmbeddedNetwork({.state_dir = "/proc/nowhere"}).ok());
  auto taken = NewEmbeddedNetwork({.bridge = "up0", .state_dir = state});
  ASSERT_TRUE(taken.ok());
  EXPECT_EQ((*taken)->Ready().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace berth::network
