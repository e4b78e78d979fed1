#include "cri/spec/node_set.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::spec {
namespace {

using testing::HasSubstr;

Node Wanted(const char* path, uint32_t major, uint32_t minor, NodeOrigin origin, NodeOwner owner = {}) {
  Node node;
  node.device = {path, 'c', major, minor, sys::UniqueFd(open("/dev/null", O_PATH | O_CLOEXEC))};
  node.origin = origin;
  node.owner = owner;
  return node;
}

TEST(NodeSetTest, TheSameDeviceTwiceIsOneNode) {
  NodeSet set;
  EXPECT_TRUE(set.Add(Wanted("/dev/x", 1, 2, NodeOrigin::kRequest, {.uid = 7})).ok());
  EXPECT_TRUE(set.Add(Wanted("/dev/x", 1, 2, NodeOrigin::kRequest)).ok());
  ASSERT_EQ(set.nodes().size(), 1u);
  EXPECT_EQ(set.nodes()[0].owner.uid, 7u);
}

TEST(NodeSetTest, TwoDevicesAtOnePathContradictEachOther) {
  NodeSet set;
  EXPECT_TRUE(set.Add(Wanted("/dev/x", 1, 2, NodeOrigin::kRequest)).ok());
  absl::Status s = set.Add(Wanted("/dev/x", 1, 3, NodeOrigin::kRequest));
  EXPECT_EQ(s.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(s.message()), HasSubstr("'/dev/x' is wanted for the devices 1:2 and 1:3"));
}

TEST(NodeSetTest, DefaultNodesStayWhatTheyAre) {
  NodeSet set;
  EXPECT_TRUE(set.Add(Wanted("/dev/null", 1, 3, NodeOrigin::kDefault)).ok());
  EXPECT_FALSE(set.Add(Wanted("/dev/null", 1, 5, NodeOrigin::kCdi)).ok());
  EXPECT_TRUE(set.Add(Wanted("/dev/null", 1, 3, NodeOrigin::kCdi, {.uid = 7})).ok());
  EXPECT_FALSE(set.nodes()[0].own());
}

TEST(NodeSetTest, LaterOriginsTakeOver) {
  NodeSet set;
  EXPECT_TRUE(set.Add(Wanted("/dev/x", 1, 2, NodeOrigin::kHostAll)).ok());
  EXPECT_TRUE(set.Add(Wanted("/dev/x", 1, 3, NodeOrigin::kRequest)).ok());
  EXPECT_EQ(set.nodes()[0].device.minor, 3u);
  EXPECT_TRUE(set.Add(Wanted("/dev/x", 1, 4, NodeOrigin::kCdi)).ok());
  EXPECT_TRUE(set.Add(Wanted("/dev/x", 1, 2, NodeOrigin::kHostAll)).ok());
  EXPECT_EQ(set.nodes()[0].device.minor, 4u);
}

TEST(NodeSetTest, AnotherOwnerOrNoHostNodeMakesItTheContainersOwn) {
  Node node = Wanted("/dev/x", 1, 2, NodeOrigin::kCdi);
  EXPECT_FALSE(node.own());
  node.owner.mode = 0600;
  EXPECT_TRUE(node.own());
  node.owner = {};
  node.device.mount.Reset();
  EXPECT_TRUE(node.own());
}

}  // namespace
}  // namespace berth::spec
