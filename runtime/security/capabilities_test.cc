#include "runtime/security/capabilities.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>

namespace berth::security {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t Bit(int cap) { return uint64_t{1} << cap; }
const uint64_t kEverything = ~uint64_t{0};

uint64_t Resolve(std::vector<std::string> add, std::vector<std::string> drop, uint64_t available = kEverything) {
  auto sets = ResolveCapabilities({.add = std::move(add), .drop = std::move(drop)}, available);
  EXPECT_TRUE(sets.ok()) << sets.status();
  EXPECT_EQ(sets->permitted, sets->bounding);
  EXPECT_EQ(sets->effective, sets->bounding);
  EXPECT_EQ(sets->inheritable, 0u);  // CVE-2022-24769
  EXPECT_EQ(sets->ambient, 0u);
  return sets->bounding;
}

TEST(CapabilitiesTest, NamesInAnySpelling) {
  for (const char* name : {"NET_ADMIN", "net_admin", "CAP_NET_ADMIN", "cap_Net_Admin"}) {
    EXPECT_EQ(*ParseCapability(name), Bit(CAP_NET_ADMIN)) << name;
  }
  for (const char* name : {"", "CAP_", "NET_ADMI", "ALL", "12", "CAP_12", "NET_ADMIN ", "CAP_CAP_CHOWN"}) {
    EXPECT_EQ(ParseCapability(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(CapabilitiesTest, DefaultIsContainerdsSet) {
  EXPECT_EQ(Resolve({}, {}), 0xa80425fbu);
  EXPECT_EQ(Resolve({}, {}), kDefaultCapabilities);
}

TEST(CapabilitiesTest, AllComesFirstThenAddsThenDrops) {
  EXPECT_EQ(Resolve({"ALL"}, {}), AllCapabilities());
  EXPECT_EQ(Resolve({}, {"all"}), 0u);
  EXPECT_EQ(Resolve({"NET_ADMIN"}, {"ALL"}), Bit(CAP_NET_ADMIN));
  EXPECT_EQ(Resolve({"ALL"}, {"CHOWN"}), AllCapabilities() & ~Bit(CAP_CHOWN));
  EXPECT_EQ(Resolve({"CHOWN", "ALL"}, {"ALL"}), Bit(CAP_CHOWN));
  EXPECT_EQ(Resolve({"CHOWN"}, {"CHOWN"}), kDefaultCapabilities & ~Bit(CAP_CHOWN));
}

TEST(CapabilitiesTest, ClippedToWhatThereIs) {
  EXPECT_EQ(Resolve({"ALL"}, {}, Bit(CAP_CHOWN) | Bit(CAP_KILL)), Bit(CAP_CHOWN) | Bit(CAP_KILL));
  auto available = AvailableCapabilities();
  ASSERT_TRUE(available.ok()) << available.status();
  EXPECT_EQ(*available & ~AllCapabilities(), 0u);
}

TEST(CapabilitiesTest, AmbientIsRaisedInAllSets) {
  auto sets = ResolveCapabilities({.drop = {"ALL"}, .add_ambient = {"NET_BIND_SERVICE"}}, kEverything);
  ASSERT_TRUE(sets.ok());
  const uint64_t bit = Bit(CAP_NET_BIND_SERVICE);
  EXPECT_EQ(sets->bounding, bit);
  EXPECT_EQ(sets->permitted, bit);
  EXPECT_EQ(sets->inheritable, bit);
  EXPECT_EQ(sets->ambient, bit);
  EXPECT_EQ(ResolveCapabilities({.drop = {"CHOWN"}, .add_ambient = {"CHOWN"}}, kEverything)->ambient, 0u);
}

TEST(CapabilitiesTest, PrivilegedHasEverythingWhateverTheLists) {
  EXPECT_EQ(ResolveCapabilities({.privileged = true, .drop = {"ALL"}}, kEverything)->bounding, AllCapabilities());
}

TEST(CapabilitiesTest, UnknownNamesSayWhichAndWhere) {
  auto sets = ResolveCapabilities({.drop = {"CHOWN", "FLY"}}, kEverything);
  EXPECT_EQ(sets.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(sets.status().message()), HasSubstr("capabilities.drop: unknown capability 'FLY'"));
}

}  // namespace
}  // namespace berth::security
