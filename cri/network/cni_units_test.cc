#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "cri/network/cni_cache.h"
#include "cri/network/cni_config.h"
#include "cri/network/cni_request.h"
#include "cri/network/cni_result.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kList[] = R"({"cniVersion":"1.0.0","name":"net","plugins":[
  {"type":"bridge","bridge":"b0","capabilities":{"ips":true,"dns":false}},
  {"type":"portmap","capabilities":{"portMappings":true,"bandwidth":true}}]})";

TEST(CniConfigTest, ListsAndSinglePlugins) {
  auto list = ParseCniConfig(kList);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->name, "net");
  EXPECT_EQ(list->version, "1.0.0");
  ASSERT_EQ(list->plugins.size(), 2u);
  EXPECT_THAT(list->plugins[0].capabilities, ElementsAre("ips"));
  EXPECT_FALSE(list->plugins[0].config.contains("capabilities"));
  auto single = ParseCniConfig(R"({"cniVersion":"0.3.1","name":"old","type":"ptp","mtu":1400})");
  ASSERT_TRUE(single.ok()) << single.status();
  EXPECT_EQ(single->plugins[0].type, "ptp");
  EXPECT_EQ(single->plugins[0].config["mtu"], 1400);
}

TEST(CniConfigTest, JsonRoundTrip) {
  Json json = CniConfigJson(*ParseCniConfig(kList));
  EXPECT_EQ(CniConfigJson(*ParseCniConfig(DumpJson(json))), json);
}

TEST(CniConfigTest, ChoosesTheLatestKnownVersion) {
  auto version = [](absl::string_view fields) {
    auto config = ParseCniConfig(absl::StrCat("{", fields, R"("name":"n","plugins":[{"type":"t"}]})"));
    return config.ok() ? config->version : std::string(config.status().message());
  };
  EXPECT_EQ(version(R"("cniVersion":"0.4.0",)"), "0.4.0");
  EXPECT_EQ(version(R"("cniVersion":"1.0.0","cniVersions":["0.4.0","1.1.0","9.0.0"],)"), "1.1.0");
  EXPECT_EQ(version(""), "0.1.0");
  EXPECT_THAT(version(R"("cniVersion":"2.0.0",)"), HasSubstr("unsupported cniVersion '2.0.0'"));
  EXPECT_TRUE(VersionAtLeast("1.1.0", "0.4.0"));
  EXPECT_FALSE(VersionAtLeast("0.3.1", "0.4.0"));
}

TEST(CniConfigTest, RefusesNonsense) {
  for (const char* bad :
       {"", "[]", "{", R"({"cniVersion":"1.0.0","plugins":[{"type":"t"}]})",
        R"({"cniVersion":"1.0.0","name":"../x","plugins":[{"type":"t"}]})",
        R"({"cniVersion":"1.0.0","name":"n","plugins":[]})", R"({"cniVersion":"1.0.0","name":"n","plugins":{}})",
        R"({"cniVersion":"1.0.0","name":"n","plugins":["t"]})", R"({"cniVersion":"1.0.0","name":"n"})",
        R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"../../bin/sh"}]})",
        R"({"cniVersion":"1.0.0","name":"n","plugins":[{"type":"t","capabilities":[]}]})",
        R"({"cniVersion":1,"name":"n","plugins":[{"type":"t"}]})"}) {
    EXPECT_FALSE(ParseCniConfig(bad).ok()) << bad;
  }
}

class CniFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-cni-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  void Write(absl::string_view dir, absl::string_view name, absl::string_view text) {
    ASSERT_TRUE(sys::MakeDirs(dir_ + "/" + std::string(dir), 0755).ok());
    auto fd = sys::Open(absl::StrCat(dir_, "/", dir), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(sys::ReplaceFileAt(fd->get(), name, text, 0644).ok());
  }
  static std::string Config(absl::string_view name) {
    return absl::StrCat(R"({"cniVersion":"1.0.0","name":")", name, R"(","plugins":[{"type":"t"}]})");
  }
  std::string dir_;
};

TEST_F(CniFilesTest, TakesTheLexicallyFirstThatIsValid) {
  Write("a", "00-notes.txt", Config("text"));
  Write("a", "05-broken.conflist", "{");
  Write("a", "20-second.conf", Config("second"));
  Write("a", "10-first.json", Config("first"));
  Write("b", "00-other.conflist", Config("other"));
  CniConfigSource source({dir_ + "/missing", dir_ + "/a", dir_ + "/b"});
  auto config = source.Current();
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->name, "first");
  EXPECT_EQ(config->source, dir_ + "/a/10-first.json");
}

TEST_F(CniFilesTest, FollowsChanges) {
  std::string a = dir_ + "/a";
  CniConfigSource source({a});
  absl::Status none = source.Current().status();
  EXPECT_EQ(none.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(none.message(), "no CNI configuration in " + a);
  Write("a", "10.conflist", "not json");
  absl::Status bad = source.Current().status();
  EXPECT_EQ(bad.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(bad.message()), HasSubstr("no valid CNI configuration in " + a + ": " + a + "/10.conflist"));
  Write("a", "10.conflist", Config("one"));
  EXPECT_EQ(source.Current()->name, "one");
  Write("a", "10.conflist", Config("two"));
  EXPECT_EQ(source.Current()->name, "two");
  Write("a", "05.conflist", Config("zero"));
  EXPECT_EQ(source.Current()->name, "zero");
  ASSERT_EQ(unlink((a + "/05.conflist").c_str()), 0);
  EXPECT_EQ(source.Current()->name, "two");
}

PodRequest SampleRequest() {
  PodRequest request;
  request.pod = PodId(std::string(64, 'a'));
  request.pod_name = "web";
  request.pod_namespace = "default";
  request.pod_uid = "uid-1";
  request.ports = {{Protocol::kUdp, 53, 5353, "10.0.0.1"}, {Protocol::kTcp, 80, 0, ""}, {Protocol::kSctp, 1, 2, ""}};
  return request;
}

TEST(CniRequestTest, BandwidthQuantities) {
  EXPECT_EQ(*ParseBandwidth("10M"), 10000000);
  EXPECT_EQ(*ParseBandwidth("1.5Gi"), 1610612736);
  EXPECT_EQ(*ParseBandwidth("2e6"), 2000000);
  EXPECT_EQ(*ParseBandwidth("1000"), 1000);
  for (const char* bad : {"", "M", "10X", "-5M", "0", "nan", "inf", "0x10", "1P1", "10 M", "2P", "1e400"}) {
    EXPECT_FALSE(ParseBandwidth(bad).ok()) << bad;
  }
}

TEST(CniRequestTest, OffersWhatThePodHas) {
  PodRequest request = SampleRequest();
  request.annotations = {{"kubernetes.io/ingress-bandwidth", "1M"}, {"x", "y"}};
  request.dns_servers = {"10.0.0.10"};
  request.dns_options = {"ndots:5"};
  request.cgroup_parent = "/kubepods/pod1";
  auto values = CapabilityValues(request);
  ASSERT_TRUE(values.ok()) << values.status();
  EXPECT_EQ((*values)["portMappings"], Json::parse(R"([
      {"hostPort":5353,"containerPort":53,"protocol":"udp","hostIP":"10.0.0.1"},
      {"hostPort":2,"containerPort":1,"protocol":"sctp"}])"));
  EXPECT_EQ((*values)["bandwidth"], Json::parse(R"({"ingressRate":1000000,"ingressBurst":4294967295})"));
  EXPECT_EQ((*values)["dns"], Json::parse(R"({"servers":["10.0.0.10"],"options":["ndots:5"]})"));
  EXPECT_EQ((*values)["cgroupPath"], "/kubepods/pod1");
  EXPECT_EQ((*values)["io.kubernetes.cri.pod-annotations"]["x"], "y");
  EXPECT_EQ(*CapabilityValues(PodRequest()), Json::object());
  request.annotations = {{"kubernetes.io/egress-bandwidth", "fast"}};
  EXPECT_THAT(std::string(CapabilityValues(request).status().message()),
              HasSubstr("annotation 'kubernetes.io/egress-bandwidth': 'fast' is not a quantity"));
}

TEST(CniRequestTest, PluginsGetOnlyWhatTheyDeclare) {
  CniConfig config = *ParseCniConfig(kList);
  Json values = *CapabilityValues(SampleRequest());
  Json bridge = Json::parse(PluginInput(config, config.plugins[0], values, Json()));
  EXPECT_EQ(bridge, Json::parse(R"({"cniVersion":"1.0.0","name":"net","type":"bridge","bridge":"b0"})"));
  Json portmap = Json::parse(PluginInput(config, config.plugins[1], values, Json{{"ips", Json::array()}}));
  EXPECT_EQ(portmap["runtimeConfig"].size(), 1u);
  EXPECT_EQ(portmap["runtimeConfig"]["portMappings"].size(), 2u);
  EXPECT_TRUE(portmap["prevResult"].contains("ips"));
}

TEST(CniRequestTest, ArgumentsCannotBeForged) {
  PodRequest request = SampleRequest();
  EXPECT_EQ(*CniArgs(request),
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=" +
                std::string(64, 'a') + ";K8S_POD_UID=uid-1");
  for (const char* evil : {"a;K8S_POD_NAMESPACE=kube-system", "a=b", "a\nb"}) {
    request.pod_name = evil;
    EXPECT_FALSE(CniArgs(request).ok()) << evil;
  }
}

TEST(CniRequestTest, EnvironmentIsWholeAndClean) {
  EXPECT_THAT(PluginEnvironment({"ADD", "id", "/ns", "A=b"}, {"/x", "/y"}),
              ElementsAre(HasSubstr("PATH="), "CNI_COMMAND=ADD", "CNI_PATH=/x:/y", "CNI_CONTAINERID=id",
                          "CNI_NETNS=/ns", "CNI_IFNAME=eth0", "CNI_ARGS=A=b"));
  EXPECT_EQ(PluginEnvironment({.command = "STATUS"}, {"/x"}).size(), 3u);
}

TEST(CniResultTest, AddressesOfEveryVersion) {
  auto ips = [](const char* text) -> std::vector<std::string> {
    auto addresses = AddressesOf(Json::parse(text));
    return addresses.ok() ? addresses->ips : std::vector<std::string>{std::string(addresses.status().message())};
  };
  EXPECT_THAT(ips(R"({"ip4":{"ip":"10.0.0.2/24"},"ip6":{"ip":"fd00::2/64"}})"), ElementsAre("10.0.0.2", "fd00::2"));
  EXPECT_THAT(ips(R"({"ips":[{"version":"4","address":"10.0.0.2/24"}]})"), ElementsAre("10.0.0.2"));
  EXPECT_THAT(ips(R"({"interfaces":[{"name":"br"},{"name":"eth0","sandbox":"/ns"}],
      "ips":[{"address":"10.0.0.1/24","interface":0},{"address":"fd00::2/64","interface":1},{"address":"10.0.0.2/24"}]})"),
              ElementsAre("fd00::2", "10.0.0.2"));
  EXPECT_THAT(ips(R"({"ips":null})"), ElementsAre());
  EXPECT_THAT(ips(R"({"ips":[{"address":"10.0.0.2/24","interface":-7}]})"), ElementsAre("10.0.0.2"));
  EXPECT_THAT(ips(R"({"ips":[{"address":"nonsense"}]})"), ElementsAre(HasSubstr("is not an address")));
  EXPECT_THAT(ips(R"({"ips":{"address":"10.0.0.2/24"}})"), ElementsAre(HasSubstr("expected a list")));
  EXPECT_THAT(ips(R"({"ips":["10.0.0.2/24"]})"), ElementsAre(HasSubstr("expected objects")));
  EXPECT_FALSE(AddressesOf(Json()).ok());
}

TEST(CniResultTest, DnsSuggestions) {
  auto addresses = AddressesOf(Json::parse(R"({"dns":{"nameservers":["10.0.0.10"],"search":["local"]}})"));
  ASSERT_TRUE(addresses.ok());
  EXPECT_THAT(addresses->dns_servers, ElementsAre("10.0.0.10"));
  EXPECT_THAT(addresses->dns_searches, ElementsAre("local"));
}

TEST(CniResultTest, ErrorsSayWhatThePluginSaid) {
  auto message = [](sys::SpawnResult result) { return std::string(PluginStatus("bridge", "ADD", result).message()); };
  EXPECT_TRUE(PluginStatus("bridge", "ADD", {.exit_code = 0}).ok());
  EXPECT_EQ(message({.exit_code = 1, .out = R"({"code":100,"msg":"no","details":"none left"})"}),
            "CNI plugin bridge failed (ADD): no; none left");
  EXPECT_EQ(message({.exit_code = 1, .out = R"({"code":100,"msg":"no"})"}), "CNI plugin bridge failed (ADD): no");
  EXPECT_EQ(message({.exit_code = 7, .out = "garbage", .err = "panic\n"}),
            "CNI plugin bridge failed (ADD): exit code 7: panic");
  EXPECT_EQ(message({.exit_code = 7, .out = R"({"msg":12})"}),
            "CNI plugin bridge failed (ADD): exit code 7: {\"msg\":12}");
  EXPECT_EQ(message({.signal = 9}), "CNI plugin bridge failed (ADD): ended by signal 9");
  EXPECT_EQ(PluginStatus("b", "ADD", {.exit_code = 1, .out = R"({"code":11,"msg":"later"})"}).code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(CniFilesTest, CacheKeepsAttachments) {
  CniCache cache(dir_ + "/cache");
  EXPECT_TRUE(cache.Find(PodId("p"))->empty());
  EXPECT_TRUE(cache.Remove(PodId("p")).ok());
  CniAttachment one{
      .pod = PodId("p"), .config = *ParseCniConfig(kList), .capabilities = Json{{"dns", {{"a", 1}}}}, .args = "A=b"};
  ASSERT_TRUE(cache.Save(one).ok());
  one.result = {{"ips", Json::array()}};
  ASSERT_TRUE(cache.Save(one).ok());
  CniAttachment other = one;
  other.pod = PodId("pq");
  ASSERT_TRUE(cache.Save(other).ok());
  Write("cache", "p+eth0+torn", "{\"kind\":");
  auto found = *cache.Find(PodId("p"));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(AttachmentText(found[0]), AttachmentText(one));
  ASSERT_TRUE(cache.Remove(PodId("p")).ok());
  EXPECT_TRUE(cache.Find(PodId("p"))->empty());
  EXPECT_EQ(cache.Find(PodId("pq"))->size(), 1u);
  one.pod = PodId("../p");
  EXPECT_FALSE(cache.Save(one).ok());
}

TEST(CniCacheTest, RefusesOtherFiles) {
  for (const char* bad :
       {"", "[]", "{}", R"({"kind":"cniCacheV1"})", R"({"kind":"berth.cni.attachment/1","pod":"p"})"}) {
    EXPECT_FALSE(ParseAttachment(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace berth::network
