#include "cli/manifest/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/manifest/quantity.h"
#include "cli/manifest/resources.h"

namespace berth::cli::manifest {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Quantity, ReadsWhatKubernetesReads) {
  struct {
    const char* text;
    int64_t scale, value;
  } cases[] = {{"0", 1, 0},
               {"1", 1000, 1000},
               {"500m", 1000, 500},
               {"0.1", 1000, 100},
               {"1.5", 1000, 1500},
               {".5", 1000, 500},
               {"100u", 1000, 1},
               {"1", 1, 1},
               {"64Mi", 1, 64 << 20},
               {"1.5Gi", 1, 1610612736},
               {"128M", 1, 128000000},
               {"1k", 1, 1000},
               {"2e3", 1, 2000},
               {"1500e-3", 1000, 1500},
               {"1m", 1, 1},
               {"+5", 1, 5},
               {"8Ei", 1, -1},
               {"9223372036854775807", 1, INT64_MAX}};
  for (const auto& c : cases) {
    auto value = ParseQuantity(c.text, c.scale);
    if (c.value < 0) {
      EXPECT_FALSE(value.ok()) << c.text;
    } else {
      ASSERT_TRUE(value.ok()) << c.text << " " << value.status();
      EXPECT_EQ(*value, c.value) << c.text;
    }
  }
}

TEST(Quantity, RefusesTheRest) {
  for (const char* bad : {"", ".", "-1", "1 Gi", "1GiB", "Mi", "0x10", "1e", "1e99", "1.2.3", "9223372036854775808",
                          "99999999999999999999999999999999999999999999", "10E", "1KI", "1e-"}) {
    EXPECT_FALSE(ParseQuantity(bad, 1).ok()) << bad;
  }
}

TEST(Expand, FollowsKubernetes) {
  StringMap vars = {{"A", "1"}, {"B", "$(A)"}};
  EXPECT_EQ(ExpandVariables("x$(A)y", vars), "x1y");
  EXPECT_EQ(ExpandVariables("$(B)", vars), "$(A)");  // once, not again
  EXPECT_EQ(ExpandVariables("$(NOPE)", vars), "$(NOPE)");
  EXPECT_EQ(ExpandVariables("$$(A)", vars), "$(A)");
  EXPECT_EQ(ExpandVariables("$$$(A)", vars), "$1");
  EXPECT_EQ(ExpandVariables("$A ${A} $", vars), "$A ${A} $");
  EXPECT_EQ(ExpandVariables("$(A", vars), "$(A");
}

TEST(Environment, ExpandsEarlierVariablesAndPodFields) {
  Pod pod;
  pod.name = "web";
  pod.ns = "shop";
  pod.labels = {{"app.kubernetes.io/name", "x"}};
  Container container;
  container.env = {{"A", "1", ""},
                   {"B", "$(A)-$(C)", ""},
                   {"C", "3", ""},
                   {"IP", "", "status.podIP"},
                   {"IPS", "", "status.podIPs"},
                   {"L", "", "metadata.labels['app.kubernetes.io/name']"},
                   {"NONE", "", "metadata.annotations['x']"},
                   {"UID", "", "metadata.uid"}};
  HostFacts host;
  host.uid = "u1";
  ContainerFacts facts;
  facts.pod_ips = {"10.0.0.1", "fd00::1"};
  EXPECT_THAT(Environment(pod, container, host, facts),
              ElementsAre(Pair("A", "1"), Pair("B", "1-$(C)"), Pair("C", "3"), Pair("IP", "10.0.0.1"),
                          Pair("IPS", "10.0.0.1,fd00::1"), Pair("L", "x"), Pair("NONE", ""), Pair("UID", "u1")));
  facts.pod_ips.clear();  // host network
  EXPECT_EQ(Environment(pod, container, host, facts)[3].second, "");
}

TEST(Dns, AddsToTheHostsFileOrReplacesIt) {
  Pod pod;
  pod.dns_policy = "Default";
  HostFacts host;
  host.resolv_conf =
      "# comment\nnameserver 1.1.1.1 # first\nsearch a b\noptions ndots:1 rotate\nnameserver "
      "2.2.2.2\n";
  EXPECT_FALSE(PodDns(pod, host).has_value());
  pod.dns = {{"9.9.9.9", "1.1.1.1"}, {"c"}, {"ndots:5"}};
  auto dns = PodDns(pod, host);
  ASSERT_TRUE(dns.has_value());
  EXPECT_THAT(dns->servers, ElementsAre("1.1.1.1", "2.2.2.2", "9.9.9.9"));
  EXPECT_THAT(dns->searches, ElementsAre("a", "b", "c"));
  EXPECT_THAT(dns->options, ElementsAre("rotate", "ndots:5"));
  pod.dns_policy = "None";
  EXPECT_THAT(PodDns(pod, host)->servers, ElementsAre("9.9.9.9", "1.1.1.1"));
}

TEST(NonRoot, LooksAtManifestThenImage) {
  Pod pod;
  Container container;
  container.name = "c";
  ContainerFacts facts;
  EXPECT_TRUE(CheckNonRoot(pod, container, facts).ok());
  pod.identity.non_root = true;
  EXPECT_THAT(std::string(CheckNonRoot(pod, container, facts).message()),
              ::testing::HasSubstr("the image runs as root"));
  facts.image_uid = 0;
  EXPECT_FALSE(CheckNonRoot(pod, container, facts).ok());
  facts.image_uid = 5;
  EXPECT_TRUE(CheckNonRoot(pod, container, facts).ok());
  facts = {};
  facts.image_username = "nobody";
  EXPECT_THAT(std::string(CheckNonRoot(pod, container, facts).message()), ::testing::HasSubstr("'nobody'"));
  pod.identity.user = 0;
  EXPECT_FALSE(CheckNonRoot(pod, container, facts).ok());
  container.identity.user = 7;
  EXPECT_TRUE(CheckNonRoot(pod, container, facts).ok());
  pod.identity.user.reset();
  container.identity = {};
  container.identity.non_root = false;  // the container's word counts
  EXPECT_TRUE(CheckNonRoot(pod, container, {}).ok());
}

TEST(Resources, CpuAsKubeletTurnsItIntoCgroupValues) {
  EXPECT_EQ(CpuShares(std::nullopt), 2);
  EXPECT_EQ(CpuShares(1000), 1024);
  EXPECT_EQ(CpuShares(1), 2);
  EXPECT_EQ(CpuShares(INT64_MAX), 262144);
  EXPECT_EQ(CpuQuota(std::nullopt), 0);
  EXPECT_EQ(CpuQuota(500), 50'000);
  EXPECT_EQ(CpuQuota(1), 1000);
}

TEST(Resources, QosAndOomScore) {
  Pod pod;
  pod.containers.resize(2);
  EXPECT_EQ(QosOf(pod), Qos::kBestEffort);
  Resources full;
  full.cpu_request = full.cpu_limit = 100;
  full.memory_request = full.memory_limit = 1 << 30;
  pod.containers[0].resources = full;
  EXPECT_EQ(QosOf(pod), Qos::kBurstable);
  pod.containers[1].resources = full;
  EXPECT_EQ(QosOf(pod), Qos::kGuaranteed);
  pod.init_containers.resize(1);
  EXPECT_EQ(QosOf(pod), Qos::kBurstable);

  constexpr int64_t kHost = int64_t{4} << 30;
  EXPECT_EQ(OomScoreAdj(Qos::kGuaranteed, full, kHost), -997);
  EXPECT_EQ(OomScoreAdj(Qos::kBestEffort, {}, kHost), 1000);
  EXPECT_EQ(OomScoreAdj(Qos::kBurstable, full, kHost), 750);
  EXPECT_EQ(OomScoreAdj(Qos::kBurstable, {}, kHost), 999);
  full.memory_request = int64_t{1} << 50;
  EXPECT_EQ(OomScoreAdj(Qos::kBurstable, full, kHost), 3);
}

}  // namespace
}  // namespace berth::cli::manifest
