#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "cri/network/address_pool.h"
#include "cri/network/host_ports.h"
#include "cri/network/ipv4.h"
#include "cri/network/lease.h"
#include "cri/network/nft_rules.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

using testing::HasSubstr;
using testing::Not;

Ipv4 Ip(absl::string_view text) { return *ParseIpv4(text); }
PodId Pod(char digit) { return PodId(std::string(64, digit)); }

TEST(SubnetTest, Arithmetic) {
  Subnet subnet = *Subnet::Parse("10.89.3.4/16");
  EXPECT_EQ(subnet.ToString(), "10.89.0.0/16");
  EXPECT_EQ(FormatIpv4(subnet.gateway()), "10.89.0.1");
  EXPECT_EQ(FormatIpv4(subnet.broadcast()), "10.89.255.255");
  EXPECT_TRUE(subnet.Contains(Ip("10.89.200.1")));
  EXPECT_FALSE(subnet.Contains(Ip("10.90.0.1")));
  EXPECT_EQ(MacFor(Ip("10.89.0.2")), (Mac{0x0a, 0x58, 10, 89, 0, 2}));
}

TEST(SubnetTest, RefusesNonsense) {
  for (const char* bad : {"", "10.0.0.0", "10.0.0.0/", "10.0.0.0/x", "10.0.0.0/31", "10.0.0.0/7", "10.0.0.0/-1",
                          "10.0.0/16", "fd00::/64", "10.0.0.0/16/2"}) {
    EXPECT_FALSE(Subnet::Parse(bad).ok()) << bad;
  }
}

TEST(AddressPoolTest, GivesEveryHostAddressOnceThenIsExhausted) {
  AddressPool pool(*Subnet::Parse("10.0.0.0/29"));
  for (const char* want : {"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"}) {
    EXPECT_EQ(FormatIpv4(*pool.Allocate()), want);
  }
  absl::Status full = pool.Allocate().status();
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("no free address in 10.0.0.0/29: all 5 are in use"));
  pool.Release(Ip("10.0.0.4"));
  EXPECT_EQ(FormatIpv4(*pool.Allocate()), "10.0.0.4");
}

TEST(AddressPoolTest, AnAddressRestsBeforeItsNextUse) {
  AddressPool pool(*Subnet::Parse("10.0.0.0/24"));
  Ipv4 first = *pool.Allocate();
  pool.Release(first);
  EXPECT_FALSE(*pool.Allocate() == first);
}

TEST(AddressPoolTest, LeasedAddressesAreNotGivenAgain) {
  AddressPool pool(*Subnet::Parse("10.0.0.0/24"));
  ASSERT_TRUE(pool.Take(Ip("10.0.0.9")).ok());
  EXPECT_EQ(pool.Take(Ip("10.0.0.9")).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(pool.Take(Ip("192.168.0.1")).ok());
  EXPECT_EQ(FormatIpv4(*pool.Allocate()), "10.0.0.10");
}

Lease SampleLease() {
  return {.pod = Pod('a'),
          .pod_name = "default/web",
          .ips = {"10.89.0.2"},
          .link = "bvaaaaaaaaaaaa",
          .ports = {{Protocol::kTcp, 80, 8080, ""}, {Protocol::kUdp, 53, 53, "127.0.0.1"}}};
}

TEST(LeaseTest, TextRoundTrip) {
  auto lease = ParseLease(LeaseText(SampleLease()));
  ASSERT_TRUE(lease.ok()) << lease.status();
  EXPECT_EQ(LeaseText(*lease), LeaseText(SampleLease()));
  EXPECT_EQ(lease->ports[1].protocol, Protocol::kUdp);
  EXPECT_EQ(lease->ports[1].host_ip, "127.0.0.1");
}

// What is read from disk ends up in nftables commands: only addresses and numbers may get through.
TEST(LeaseTest, RefusesWhatWouldEndUpInRules) {
  std::string good = LeaseText(SampleLease());
  auto with = [&](absl::string_view from, absl::string_view to) {
    std::string text = good;
    size_t at = text.find(std::string(from));
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), std::string(to));
  };
  EXPECT_FALSE(ParseLease(with("10.89.0.2", "1 ; flush ruleset")).ok());
  EXPECT_FALSE(ParseLease(with("127.0.0.1", "} flush")).ok());
  EXPECT_FALSE(ParseLease(with("\"udp\"", "\"icmp\"")).ok());
  EXPECT_FALSE(ParseLease(with("8080", "80800")).ok());
  EXPECT_FALSE(ParseLease(with("8080", "\"x\"")).ok());
  EXPECT_FALSE(ParseLease(with("bvaaaaaaaaaaaa", "../x")).ok());
  EXPECT_FALSE(ParseLease(with("\"version\":1", "\"version\":2")).ok());
  EXPECT_FALSE(ParseLease("").ok());
  EXPECT_FALSE(ParseLease("[]").ok());
  EXPECT_FALSE(ParseLease(good.substr(0, good.size() / 2)).ok());
}

TEST(LeaseStoreTest, KeepsGoodOnesAndDropsBadOnes) {
  char dir[] = "/tmp/berth-lease-test-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  std::string leases = absl::StrCat(dir, "/leases");
  auto store = LeaseStore::Open(leases);
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE(store->Save(SampleLease()).ok());
  auto fd = sys::Open(leases, O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(sys::ReplaceFileAt(fd->get(), "torn.json", "", 0600).ok());
  ASSERT_TRUE(sys::ReplaceFileAt(fd->get(), "other.json", LeaseText(SampleLease()), 0600).ok());
  ASSERT_TRUE(sys::OpenAt(fd->get(), ".cut-short.json.new", O_CREAT | O_WRONLY, 0600).ok());

  std::vector<std::string> problems;
  auto found = LeaseStore::Open(leases)->Load(&problems);
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().pod, Pod('a'));
  EXPECT_EQ(problems.size(), 2u);
  EXPECT_EQ(sys::ListDir(fd->get())->size(), 1u);
  EXPECT_TRUE(store->Remove(Pod('a')).ok());
  EXPECT_TRUE(store->Remove(Pod('a')).ok());
  EXPECT_TRUE(sys::ListDir(fd->get())->empty());
  Lease evil = SampleLease();
  evil.pod = PodId("../evil");
  EXPECT_FALSE(store->Save(evil).ok());
  EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir).ok());
}

TEST(PublishedPortsTest, NormalisesAndRefuses) {
  auto ports = PublishedPorts({{Protocol::kTcp, 80, 0, ""},
                               {Protocol::kTcp, 80, 8080, "0.0.0.0"},
                               {Protocol::kTcp, 80, 8080, ""},
                               {Protocol::kTcp, 80, 8081, "::1"},
                               {Protocol::kUdp, 53, 53, "10.0.0.1"}});
  ASSERT_TRUE(ports.ok());
  ASSERT_EQ(ports->size(), 2u);
  EXPECT_EQ((*ports)[0].host_ip, "");
  EXPECT_EQ((*ports)[1].host_ip, "10.0.0.1");
  EXPECT_FALSE(PublishedPorts({{Protocol::kTcp, 80, 65536, ""}}).ok());
  EXPECT_FALSE(PublishedPorts({{Protocol::kTcp, 0, 80, ""}}).ok());
  EXPECT_FALSE(PublishedPorts({{Protocol::kTcp, 80, 80, "1.2.3.4; flush ruleset"}}).ok());
}

Lease WithPorts(char pod, std::vector<PortMapping> ports) {
  return {.pod = Pod(pod), .pod_name = absl::StrCat("ns/", std::string(1, pod)), .ports = std::move(ports)};
}

TEST(HostPortTableTest, ConflictsAsBindHasThem) {
  HostPortTable table;
  ASSERT_TRUE(table.Add(WithPorts('a', {{Protocol::kTcp, 80, 8080, ""}})).ok());
  absl::Status taken = table.Add(WithPorts('b', {{Protocol::kUdp, 1, 9, ""}, {Protocol::kTcp, 1, 8080, "10.0.0.1"}}));
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(taken.message()), HasSubstr("host port 10.0.0.1:8080/tcp is already used by pod ns/a"));
  EXPECT_TRUE(table.Add(WithPorts('c', {{Protocol::kUdp, 1, 9, ""}})).ok()) << "a refused request reserves nothing";
  EXPECT_TRUE(table.Add(WithPorts('d', {{Protocol::kUdp, 80, 8080, ""}})).ok());
  EXPECT_TRUE(table.Add(WithPorts('e', {{Protocol::kTcp, 80, 90, "10.0.0.1"}})).ok());
  EXPECT_TRUE(table.Add(WithPorts('f', {{Protocol::kTcp, 80, 90, "10.0.0.2"}})).ok());
  EXPECT_FALSE(table.Add(WithPorts('g', {{Protocol::kTcp, 80, 90, ""}})).ok());
  EXPECT_FALSE(table.Add(WithPorts('g', {{Protocol::kTcp, 80, 91, ""}, {Protocol::kTcp, 81, 91, ""}})).ok());
  table.Remove(Pod('a'));
  EXPECT_TRUE(table.Add(WithPorts('g', {{Protocol::kTcp, 1, 8080, "10.0.0.1"}})).ok());
}

TEST(NftRulesTest, ElementsNameTheirMap) {
  EXPECT_EQ(AddElementsText("br7", SampleLease()),
            "add element ip berth-br7 any_address { tcp . 8080 : 10.89.0.2 . 80 }\n"
            "add element ip berth-br7 one_address { 127.0.0.1 . udp . 53 : 10.89.0.2 . 53 }\n");
  EXPECT_EQ(DeleteElementsText("br7", SampleLease()),
            "delete element ip berth-br7 any_address { tcp . 8080 }\n"
            "delete element ip berth-br7 one_address { 127.0.0.1 . udp . 53 }\n");
  EXPECT_EQ(AddElementsText("br7", WithPorts('a', {})), "");
}

TEST(NftRulesTest, TableNamesBridgeAndSubnetAndHoldsLeases) {
  std::string text = TableText("br7", *Subnet::Parse("10.1.0.0/24"), {SampleLease()});
  EXPECT_THAT(text, HasSubstr("iifname \"br7\" ip daddr 127.0.0.0/8 drop"));
  EXPECT_THAT(text, HasSubstr("ip saddr 10.1.0.0/24 ip daddr != { 10.1.0.0/24, 224.0.0.0/4 } masquerade"));
  EXPECT_THAT(text, HasSubstr(AddElementsText("br7", SampleLease())));
  EXPECT_THAT(text, Not(HasSubstr("$")));
}

}  // namespace
}  // namespace berth::network
