#include "cri/network/cni_network.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "cri/network/fake_host.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr Protocol kTcp = Protocol::kTcp;

constexpr char kBridgeAndPortmap[] = R"({"cniVersion":"$VERSION","name":"testnet","plugins":[
  {"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":true,"hairpinMode":true,
   "ipam":{"type":"host-local","dataDir":"$DIR/ipam","ranges":[[{"subnet":"10.99.0.0/24"}]],
           "routes":[{"dst":"0.0.0.0/0"}]}},
  {"type":"portmap","snat":true,"capabilities":{"portMappings":true}}]})";

// A plugin that writes down how it was called, then does what the test's file of its name says.
constexpr char kScript[] = R"(#!/bin/sh
me=$(basename "$0")
echo "$me $CNI_COMMAND netns=$CNI_NETNS" >> $DIR/calls
cat > $DIR/$me.$CNI_COMMAND.stdin
[ -e $DIR/$me.$CNI_COMMAND ] && . $DIR/$me.$CNI_COMMAND
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.2.3/24"}]}'
exit 0
)";

class CniNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make network namespaces";
    char dir[] = "/tmp/berth-cni-network-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    dir_ = dir;
    host_ = std::make_unique<FakeHost>();
    options_ = {
        .conf_dirs = {dir_ + "/conf"}, .bin_dirs = {dir_ + "/bin", "/usr/lib/cni"}, .cache_dir = dir_ + "/cache"};
    network_ = NewCniNetwork(options_);
    pod_.pod = PodId(std::string(64, 'a'));
    pod_.pod_name = "web";
    pod_.pod_namespace = "default";
    pod_.pod_uid = "uid";
    pod_.netns_path = netns_.path();
  }
  void TearDown() override {
    if (dir_.empty()) return;
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok());
  }
  void Write(absl::string_view dir, absl::string_view name, absl::string_view text, mode_t mode = 0644) {
    std::string path = absl::StrCat(dir_, "/", dir);
    ASSERT_TRUE(sys::MakeDirs(path, 0755).ok());
    auto fd = sys::Open(path, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(sys::ReplaceFileAt(fd->get(), name, absl::StrReplaceAll(text, {{"$DIR", dir_}}), mode).ok());
  }
  // A chain of two scripts, "one" and "two".
  void UseScripts(absl::string_view version = "1.0.0") {
    Write("bin", "one", kScript, 0755);
    Write("bin", "two", kScript, 0755);
    Write("conf", "10.conflist", absl::StrCat(R"({"cniVersion":")", version, R"(","name":"scripts","plugins":[
        {"type":"one","capabilities":{"io.kubernetes.cri.pod-annotations":true}},{"type":"two"}]})"));
  }
  void Script(absl::string_view plugin_and_command, absl::string_view body) { Write("", plugin_and_command, body); }
  std::string Calls() { return Sh("cat " + dir_ + "/calls; rm -f " + dir_ + "/calls"); }
  Json Stdin(absl::string_view name) { return Json::parse(*sys::ReadFile(absl::StrCat(dir_, "/", name, ".stdin"))); }
  std::string CacheFiles() { return Sh("ls " + dir_ + "/cache/berth 2>/dev/null"); }
  // No plugins' rules, addresses or links; chains that portmap and iptables make once stay.
  std::string Leftovers() {
    return Sh("nft list ruleset | grep 10.99; ip -o link | grep -c veth; ls " + dir_ + "/ipam/testnet");
  }

  std::string dir_;
  std::unique_ptr<FakeHost> host_;
  CniOptions options_;
  std::unique_ptr<PodNetwork> network_;
  Netns netns_;
  PodRequest pod_;
};

class RealPluginsTest : public CniNetworkTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    if (access("/usr/lib/cni/bridge", X_OK) != 0) GTEST_SKIP() << "needs the package containernetworking-plugins";
    if (Sh("command -v iptables").empty()) GTEST_SKIP() << "needs iptables, which the portmap plugin runs";
    CniNetworkTest::SetUp();
  }
};

TEST_P(RealPluginsTest, BridgeAndPortmapThereAndGoneAgain) {
  Write("conf", "10-test.conflist", absl::StrReplaceAll(kBridgeAndPortmap, {{"$VERSION", GetParam()}}));
  ASSERT_TRUE(network_->Ready().ok()) << network_->Ready();
  pod_.ports = {{kTcp, 80, 8080, ""}};
  auto addresses = network_->Attach(pod_);
  ASSERT_TRUE(addresses.ok()) << addresses.status();
  ASSERT_EQ(addresses->ips.size(), 1u);
  EXPECT_EQ(addresses->ips[0], "10.99.0.2");
  EXPECT_THAT(ShIn(netns_, "ip link show lo"), HasSubstr("UP"));
  Server server(&netns_, kTcp, 80), outside(&host_->outside, kTcp, 80);
  EXPECT_EQ(Ask(nullptr, kTcp, "10.99.0.2", 80), "10.99.0.1");
  EXPECT_EQ(Ask(&host_->outside, kTcp, "192.0.2.1", 8080), "192.0.2.2");
  EXPECT_EQ(Ask(nullptr, kTcp, "127.0.0.1", 8080), "10.99.0.1");
  EXPECT_EQ(Ask(&netns_, kTcp, "192.0.2.2", 80), "192.0.2.1");
  EXPECT_THAT(Leftovers(), HasSubstr("10.99.0.2"));

  network_ = NewCniNetwork(options_);  // the daemon was restarted, and the configuration changed meanwhile
  Write("conf", "10-test.conflist", R"({"cniVersion":"1.0.0","name":"other","plugins":[{"type":"one"}]})");
  ASSERT_TRUE(network_->Detach(pod_).ok()) << network_->Detach(pod_);
  EXPECT_THAT(Leftovers(), Not(HasSubstr("10.99.0.2")));
  EXPECT_THAT(Leftovers(), HasSubstr("0\n")) << "no veth";
  EXPECT_EQ(CacheFiles(), "");
}

TEST_P(RealPluginsTest, DetachWithoutNamespaceAndWithoutCache) {
  Write("conf", "10-test.conflist", absl::StrReplaceAll(kBridgeAndPortmap, {{"$VERSION", GetParam()}}));
  pod_.ports = {{kTcp, 80, 8080, ""}};
  ASSERT_TRUE(network_->Attach(pod_).ok());
  ASSERT_THAT(Sh("nft list ruleset"), HasSubstr("dnat to"));
  Sh("rm -r " + dir_ + "/cache");
  pod_.netns_path = "";
  absl::Status status = network_->Detach(pod_);
  ASSERT_TRUE(status.ok()) << status;
  // The bridge plugin itself leaves its masquerade rule behind when the namespace is gone.
  EXPECT_THAT(Sh("ls " + dir_ + "/ipam/testnet"), Not(HasSubstr("10.99.0.2"))) << "the address is free";
  EXPECT_THAT(Sh("nft list ruleset"), Not(HasSubstr("dnat to"))) << "the port is free";
  EXPECT_TRUE(network_->Detach(pod_).ok()) << "idempotent";
}

TEST_P(RealPluginsTest, ExhaustedRangeIsThePluginsOwnWords) {
  Write("conf", "10-test.conflist",
        absl::StrReplaceAll(kBridgeAndPortmap, {{"$VERSION", GetParam()}, {"10.99.0.0/24", "10.99.0.0/30"}}));
  ASSERT_TRUE(network_->Attach(pod_).ok());
  Netns other;
  PodRequest second = pod_;
  second.pod = PodId(std::string(64, 'b'));
  second.netns_path = other.path();
  EXPECT_THAT(std::string(network_->Attach(second).status().message()), HasSubstr("CNI plugin bridge failed (ADD): "));
  EXPECT_THAT(CacheFiles(), Not(HasSubstr("bbbb")));
  EXPECT_TRUE(network_->Detach(pod_).ok());
}

INSTANTIATE_TEST_SUITE_P(Versions, RealPluginsTest, testing::Values("0.3.1", "0.4.0", "1.0.0"));

TEST_F(CniNetworkTest, WithoutConfigurationItIsNotReady) {
  absl::Status status = network_->Ready();
  EXPECT_EQ(status.message(), "no CNI configuration in " + dir_ + "/conf");
  EXPECT_FALSE(network_->Attach(pod_).ok());
  EXPECT_TRUE(network_->Detach(pod_).ok()) << "nothing can be attached";
  EXPECT_THAT(network_->Describe(), HasSubstr("no CNI configuration"));
  UseScripts();
  EXPECT_TRUE(network_->Ready().ok()) << "seen without a restart";
  Sh("rm " + dir_ + "/bin/two");
  EXPECT_THAT(std::string(network_->Ready().message()),
              HasSubstr("CNI plugin two is not in " + dir_ + "/bin, /usr/lib/cni"));
}

TEST_F(CniNetworkTest, ChainsForwardAndBackward) {
  UseScripts();
  pod_.annotations = {{"k", "v"}};
  ASSERT_TRUE(network_->Attach(pod_).ok());
  std::string ns = pod_.netns_path;
  EXPECT_EQ(Calls(), "one ADD netns=" + ns + "\ntwo ADD netns=" + ns);
  EXPECT_FALSE(Stdin("one.ADD").contains("prevResult"));
  EXPECT_EQ(Stdin("one.ADD")["runtimeConfig"]["io.kubernetes.cri.pod-annotations"]["k"], "v");
  EXPECT_EQ(Stdin("two.ADD")["prevResult"]["ips"][0]["address"], "10.1.2.3/24");
  EXPECT_FALSE(Stdin("two.ADD").contains("runtimeConfig"));
  network_ = NewCniNetwork(options_);
  PodRequest bare;  // all that a restarted daemon may know
  bare.pod = pod_.pod;
  bare.netns_path = "/run/netns/gone";
  ASSERT_TRUE(network_->Detach(bare).ok());
  EXPECT_EQ(Calls(), "two DEL netns=\none DEL netns=");
  EXPECT_EQ(Stdin("one.DEL")["prevResult"]["ips"][0]["address"], "10.1.2.3/24");
  EXPECT_EQ(Stdin("one.DEL")["runtimeConfig"]["io.kubernetes.cri.pod-annotations"]["k"], "v");
}

TEST_F(CniNetworkTest, AFailedAddIsUndoneWhole) {
  UseScripts();
  Script("two.ADD", R"(echo '{"code":100,"msg":"no luck","details":"really"}'; exit 1)");
  absl::Status status = network_->Attach(pod_).status();
  EXPECT_EQ(status.message(), "CNI plugin two failed (ADD): no luck; really");
  std::string ns = pod_.netns_path;
  EXPECT_EQ(Calls(),
            "one ADD netns=" + ns + "\ntwo ADD netns=" + ns + "\ntwo DEL netns=" + ns + "\none DEL netns=" + ns);
  EXPECT_EQ(CacheFiles(), "");
}

TEST_F(CniNetworkTest, AFailedUndoIsTriedAgainByDetach) {
  UseScripts();
  Script("two.ADD", "exit 1");
  Script("two.DEL", "echo broken >&2; exit 2");
  EXPECT_FALSE(network_->Attach(pod_).ok());
  EXPECT_NE(CacheFiles(), "");
  Calls();
  absl::Status status = network_->Detach(pod_);
  EXPECT_EQ(status.message(), "CNI plugin two failed (DEL): exit code 2: broken");
  EXPECT_THAT(Calls(), HasSubstr("one DEL")) << "the rest of the chain is not left behind";
  Sh("rm " + dir_ + "/two.DEL");
  EXPECT_TRUE(network_->Detach(pod_).ok());
  EXPECT_EQ(CacheFiles(), "");
}

TEST_F(CniNetworkTest, MisbehavingPlugins) {
  UseScripts();
  auto attach = [&](const char* body) {
    Script("one.ADD", body);
    return std::string(network_->Attach(pod_).status().message());
  };
  EXPECT_THAT(attach("exit 0"), HasSubstr("CNI plugin one failed (ADD): its result"));
  EXPECT_THAT(attach("echo hello; exit 0"), HasSubstr("CNI plugin one failed (ADD): its result"));
  EXPECT_THAT(attach("echo '{\"cniVersion\":\"9.9.9\"}'; exit 0"), HasSubstr("unknown version '9.9.9'"));
  EXPECT_THAT(attach("echo '{\"ips\":3}'; exit 0"), HasSubstr("field 'ips': expected a list"));
  EXPECT_THAT(attach("head -c 2000000 /dev/zero; exit 0"), HasSubstr("output is larger than 1048576 bytes"));
  EXPECT_THAT(attach("kill -9 $$"), HasSubstr("CNI plugin one failed (ADD): ended by signal 9"));
  EXPECT_EQ(CacheFiles(), "");
  Script("one.ADD", "echo '{}'; exit 0");
  Script("two.ADD", "echo '{}'; exit 0");
  EXPECT_EQ(network_->Attach(pod_).status().message(), "CNI network scripts gave no address");
  Sh("chmod a-x " + dir_ + "/bin/one");
  EXPECT_EQ(network_->Attach(pod_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CniNetworkTest, APluginThatHangsIsKilled) {
  options_.plugin_timeout = absl::Milliseconds(300);
  network_ = NewCniNetwork(options_);
  UseScripts();
  Script("two.ADD", "sleep 60");
  absl::Time start = absl::Now();
  absl::Status status = network_->Attach(pod_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("CNI plugin two failed (ADD): "));
  EXPECT_THAT(std::string(status.message()), HasSubstr("did not end within 300ms"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(CniNetworkTest, TheDaemonsEndWaitsForNoPlugin) {
  UseScripts();
  Script("two.ADD", "touch $DIR/hangs; sleep 60");
  absl::Status status;
  std::thread attaching([&] { status = network_->Attach(pod_).status(); });
  while (access((dir_ + "/hangs").c_str(), F_OK) != 0) absl::SleepFor(absl::Milliseconds(5));
  network_->Interrupt();
  attaching.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled) << status;
  EXPECT_EQ(network_->Detach(pod_).code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(network_->HasAttachment(pod_.pod)) << "for the next daemon";
  network_ = NewCniNetwork(options_);
  EXPECT_TRUE(network_->Detach(pod_).ok());
  EXPECT_EQ(CacheFiles(), "");
}

TEST_F(CniNetworkTest, StatusIsAskedFromVersion11On) {
  UseScripts("1.1.0");
  ASSERT_TRUE(network_->Ready().ok()) << network_->Ready();
  EXPECT_EQ(Calls(), "one STATUS netns=\ntwo STATUS netns=");
  Script("two.STATUS", R"(echo '{"code":50,"msg":"controller is away"}'; exit 1)");
  absl::Status status = network_->Ready();
  EXPECT_EQ(status.message(), "CNI plugin two failed (STATUS): controller is away");
  UseScripts("1.0.0");
  Calls();
  EXPECT_TRUE(network_->Ready().ok());
  EXPECT_THAT(Calls(), Not(HasSubstr("STATUS")));
}

TEST_F(CniNetworkTest, CollectsTheAttachmentsOfPodsThatAreGone) {
  UseScripts("1.1.0");
  ASSERT_TRUE(network_->Attach(pod_).ok());
  Netns netns;
  PodRequest gone = pod_;
  gone.pod = PodId(std::string(64, 'b'));
  gone.netns_path = netns.path();
  ASSERT_TRUE(network_->Attach(gone).ok());
  Calls();
  auto alive = [&] { return std::set<PodId>{pod_.pod}; };
  ASSERT_TRUE(network_->CollectGarbage(alive).ok());
  EXPECT_EQ(Calls(), "two DEL netns=\none DEL netns=\none GC netns=\ntwo GC netns=");
  EXPECT_EQ(Stdin("two.GC")["cni.dev/valid-attachments"],
            Json::parse(absl::StrCat(R"([{"containerID":")", pod_.pod.str(), R"(","ifname":"eth0"}])")));
  EXPECT_TRUE(network_->HasAttachment(pod_.pod));
  EXPECT_FALSE(network_->HasAttachment(gone.pod));
  ASSERT_TRUE(network_->CollectGarbage(alive).ok());
  EXPECT_THAT(Calls(), Not(HasSubstr("GC"))) << "plugins are asked once";
}

TEST_F(CniNetworkTest, AConfigurationMayForbidGc) {
  UseScripts("1.1.0");
  Sh("sed -i 's/\"name\"/\"disableGC\":true,\"name\"/' " + dir_ + "/conf/10.conflist");
  ASSERT_TRUE(network_->CollectGarbage([] { return std::set<PodId>(); }).ok());
  EXPECT_THAT(Calls(), Not(HasSubstr("GC")));
}

// While a plugin is at work for a pod, nobody could say which attachments are valid.
TEST_F(CniNetworkTest, GcWaitsForAttachmentsThatAreMade) {
  UseScripts("1.1.0");
  Script("one.ADD", "while [ ! -e $DIR/go ]; do sleep 0.05; done");
  std::thread attaching([&] { EXPECT_TRUE(network_->Attach(pod_).ok()); });
  while (CacheFiles().empty()) absl::SleepFor(absl::Milliseconds(5));
  auto alive = [&] { return std::set<PodId>{pod_.pod}; };
  EXPECT_EQ(network_->CollectGarbage(alive).code(), absl::StatusCode::kUnavailable);
  Write("", "go", "");
  attaching.join();
  EXPECT_TRUE(network_->CollectGarbage(alive).ok());
  EXPECT_THAT(Calls(), HasSubstr("two GC"));
}

TEST_F(CniNetworkTest, AnAttemptCutByAKillIsUndoneFirst) {
  UseScripts();
  CniAttachment half{.pod = pod_.pod,
                     .config = *CniConfigSource(options_.conf_dirs).Current(),
                     .capabilities = Json::object(),
                     .args = "IgnoreUnknown=1"};
  ASSERT_TRUE(CniCache(dir_ + "/cache/berth").Save(half).ok());
  ASSERT_TRUE(network_->Attach(pod_).ok());
  EXPECT_THAT(Calls(), testing::StartsWith("two DEL"));
}

TEST_F(CniNetworkTest, RefusesANamespaceThatIsNone) {
  UseScripts();
  pod_.netns_path = dir_ + "/conf/10.conflist";
  EXPECT_EQ(network_->Attach(pod_).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Calls(), HasSubstr("No such file")) << "no plugin ran";
}

}  // namespace
}  // namespace berth::network
