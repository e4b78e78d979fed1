#include "cri/spec/block_io_classes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::spec {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kFile[] = R"(
Classes:
  slow:
  - Weight: 80
  - Devices: ["/dev/sd[a-z]", "/dev/vd[a-z]"]
    ThrottleReadBps: 50M
    ThrottleWriteBps: 10Mi
    ThrottleReadIOPS: 10k
    throttlewriteiops: 5k
    Weight: 50
  - Devices:
    - /dev/disk/by-id/*SSD*
    ThrottleReadBps: 100M
  fast:
  - Weight: 400
)";

TEST(BlockIoClassesTest, ALaterEntryCountsAloneForItsDevices) {
  auto classes = ParseBlockIoClasses(kFile);
  ASSERT_TRUE(classes.ok()) << classes.status();
  const auto find = [](const std::string& pattern) -> std::vector<DeviceNumber> {
    if (pattern == "/dev/sd[a-z]") return {{8, 0}, {8, 16}};
    if (pattern == "/dev/disk/by-id/*SSD*") return {{8, 16}};
    return {};
  };
  const cgroup::BlockIo slow = ResolveBlockIo(classes->at("slow"), find);
  EXPECT_EQ(slow.weight, 80u);
  ASSERT_EQ(slow.devices.size(), 2u);
  EXPECT_EQ(slow.devices[0].minor, 0u);
  EXPECT_EQ(slow.devices[0].weight, 50u);
  EXPECT_EQ(slow.devices[0].read_bps, 50000000u);
  EXPECT_EQ(slow.devices[0].write_bps, 10485760u);
  EXPECT_EQ(slow.devices[0].read_iops, 10000u);
  EXPECT_EQ(slow.devices[0].write_iops, 5000u);
  EXPECT_EQ(slow.devices[1].read_bps, 100000000u);
  EXPECT_FALSE(slow.devices[1].weight || slow.devices[1].write_iops);
  const cgroup::BlockIo fast = ResolveBlockIo(classes->at("fast"), find);
  EXPECT_EQ(fast.weight, 400u);
  EXPECT_THAT(fast.devices, IsEmpty());
}

TEST(BlockIoClassesTest, WhatIsWrongIsNamed) {
  for (auto [text, words] : {std::pair<const char*, const char*>{"[1]", "expected a mapping"},
                             {"Klasses: {}", "Klasses: unknown key"},
                             {"Classes: {a: {}}", "Classes.a: expected a list"},
                             {"Classes: {a: [{Wait: 5}]}", "Classes.a.Wait"},
                             {"Classes: {a: [{Weight: 5}]}", "Classes.a.Weight: not within 10 and 1000"},
                             {"Classes: {a: [{Weight: heavy}]}", "'heavy' is not a number"},
                             {"Classes: {a: [{Devices: /dev/x}]}", "expected a list"},
                             {"Classes: {a: [{Devices: [x]}]}", "absolute"},
                             {"Classes: {a: [{ThrottleReadBps: 5}]}", "throttles without Devices"},
                             {"Classes: [", "YAML"}}) {
    auto classes = ParseBlockIoClasses(text);
    EXPECT_EQ(classes.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(classes.status().message()), HasSubstr(words)) << text;
  }
  EXPECT_TRUE(ParseBlockIoClasses("")->empty());
}

TEST(BlockIoClassesTest, Amounts) {
  EXPECT_EQ(*ParseAmount("0"), 0u);
  EXPECT_EQ(*ParseAmount("3Gi"), 3u << 30);
  EXPECT_EQ(*ParseAmount("2T"), 2000000000000u);
  for (const char* bad : {"", "k", "1.5M", "-1", "1m", "1 M", "99999999999999999999", "99999999999T"}) {
    EXPECT_FALSE(ParseAmount(bad).ok()) << bad;
  }
}

TEST(BlockIoClassesTest, OnlyBlockDevicesAreFound) {
  EXPECT_THAT(FindBlockDevices("/dev/null"), IsEmpty());
  EXPECT_THAT(FindBlockDevices("/no/such/*"), IsEmpty());
}

}  // namespace
}  // namespace berth::spec
