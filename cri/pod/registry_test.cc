#include "cri/pod/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace berth::pod {
namespace {

using state::Kind;
using testing::IsEmpty;
using testing::SizeIs;

// Keeps records in memory; fails on demand.
class MemoryStore : public state::StateStore {
 public:
  absl::Status Put(Kind, absl::string_view id, absl::string_view data) override {
    if (fail) return absl::InternalError("disk full");
    records[std::string(id)] = std::string(data);
    return absl::OkStatus();
  }
  absl::Status Delete(Kind, absl::string_view id) override {
    if (fail) return absl::InternalError("disk full");
    records.erase(std::string(id));
    return absl::OkStatus();
  }
  absl::StatusOr<state::Loaded> Load() override { return state::Loaded{}; }
  std::map<std::string, std::string> records;
  bool fail = false;
};

state::v1::Container MakeContainer(absl::string_view id, absl::string_view pod) {
  state::v1::Container c;
  c.set_id(std::string(id));
  c.set_pod_id(std::string(pod));
  return c;
}

class RegistryTest : public testing::Test {
 protected:
  MemoryStore store_;
  Registry registry_{store_};
};

TEST_F(RegistryTest, ChangesAreStoredBeforeTheyAreSeen) {
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("abc", "p")).ok());
  ASSERT_TRUE(registry_.UpdateContainer(ContainerId("abc"), [](auto& c) { c.set_exit_code(3); }).ok());
  state::v1::Container stored;
  ASSERT_TRUE(stored.ParseFromString(store_.records["abc"]));
  EXPECT_EQ(stored.exit_code(), 3);
  store_.fail = true;
  EXPECT_FALSE(registry_.AddContainer(MakeContainer("never", "p")).ok());
  EXPECT_EQ(registry_.Container(ContainerId("never")).status().code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(registry_.ForgetContainer(ContainerId("abc")).ok());
  EXPECT_TRUE(registry_.Container(ContainerId("abc")).ok());
}

TEST_F(RegistryTest, ShortIdsResolveWhenUnambiguous) {
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("aab1", "p")).ok());
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("aac2", "p")).ok());
  EXPECT_EQ(registry_.ResolveContainer("aab")->str(), "aab1");
  EXPECT_EQ(registry_.ResolveContainer("aac2")->str(), "aac2");
  EXPECT_EQ(registry_.ResolveContainer("aa").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(registry_.ResolveContainer("zz").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(registry_.ResolveContainer("").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegistryTest, ContainersBelongToTheirPod) {
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("a", "p1")).ok());
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("b", "p2")).ok());
  EXPECT_THAT(registry_.ContainersOf(PodId("p1")), SizeIs(1));
  EXPECT_THAT(registry_.ContainersOf(PodId("p3")), IsEmpty());
  EXPECT_EQ(registry_.Shim(PodId("p1")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RegistryTest, AwaitExitEndsWithTheContainerOrTheDeadline) {
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("a", "p")).ok());
  EXPECT_FALSE(registry_.AwaitExit(ContainerId("a"), Deadline::In(absl::Milliseconds(10))));
  std::thread exits([&] {
    absl::SleepFor(absl::Milliseconds(10));
    (void)registry_.UpdateContainer(ContainerId("a"), [](auto& c) { c.set_state(state::v1::Container::EXITED); });
  });
  EXPECT_TRUE(registry_.AwaitExit(ContainerId("a"), Deadline::In(absl::Seconds(30))));
  exits.join();
  EXPECT_TRUE(registry_.AwaitExit(ContainerId("gone"), Deadline::In(absl::ZeroDuration())));
}

}  // namespace
}  // namespace berth::pod
