#include "cri/pod/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/time/clock.h"

namespace berth::pod {
namespace {

using state::Kind;
using testing::IsEmpty;
using testing::SizeIs;

// Keeps records in memory; fails on demand.
class MemoryStore : public state::StateStore {
 public:
  absl::Status Put(Kind, absl::string_view id, absl::string_view data) override {
    if (fail) return error;
    records[std::string(id)] = std::string(data);
    return absl::OkStatus();
  }
  absl::Status Delete(Kind, absl::string_view id) override {
    if (fail) return error;
    records.erase(std::string(id));
    return absl::OkStatus();
  }
  absl::StatusOr<state::Loaded> Load() override { return state::Loaded{}; }
  absl::Status SetAside(Kind, absl::string_view, absl::string_view) override { return absl::OkStatus(); }
  std::map<std::string, std::string> records;
  bool fail = false;
  absl::Status error = absl::ResourceExhaustedError("disk full");
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

// An exit code that could not be stored is stored when the disk has room again, before a restart could lose it.
TEST_F(RegistryTest, WhatCouldNotBeStoredIsStoredLater) {
  int told = 0;
  registry_.OnUnsaved([&] { ++told; });
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("abc", "p")).ok());
  ASSERT_TRUE(registry_.AddContainer(MakeContainer("def", "p")).ok());
  store_.fail = true;
  EXPECT_TRUE(registry_.UpdateContainer(ContainerId("abc"), [](auto& c) { c.set_exit_code(3); }).ok());
  EXPECT_EQ(registry_.Container(ContainerId("abc"))->exit_code(), 3);
  EXPECT_FALSE(registry_.SaveUnsaved().ok());
  EXPECT_EQ(told, 1);
  store_.fail = false;
  EXPECT_TRUE(registry_.SaveUnsaved().ok());
  state::v1::Container stored;
  ASSERT_TRUE(stored.ParseFromString(store_.records["abc"]));
  EXPECT_EQ(stored.exit_code(), 3);
  // Nothing is left to be done, and what was forgotten meanwhile does not come back.
  store_.records.clear();
  EXPECT_TRUE(registry_.SaveUnsaved().ok());
  store_.fail = true;
  EXPECT_TRUE(registry_.UpdateContainer(ContainerId("def"), [](auto&) {}).ok());
  store_.fail = false;
  EXPECT_TRUE(registry_.ForgetContainer(ContainerId("def")).ok());
  EXPECT_TRUE(registry_.SaveUnsaved().ok());
  EXPECT_THAT(store_.records, IsEmpty());
}

// A pod is ready when that is stored, and not before.
TEST_F(RegistryTest, APodIsReplacedInTheStoreFirst) {
  state::v1::Pod pod;
  pod.set_id("p");
  pod.set_unfinished(true);
  EXPECT_TRUE(absl::IsNotFound(registry_.ReplacePod(pod)));
  ASSERT_TRUE(registry_.AddPod(pod).ok());
  const auto entry = registry_.Entry(PodId("p"));
  pod.set_unfinished(false);
  store_.fail = true;
  EXPECT_TRUE(absl::IsResourceExhausted(registry_.ReplacePod(pod)));
  EXPECT_TRUE(registry_.Pod(PodId("p"))->unfinished());
  store_.fail = false;
  EXPECT_TRUE(registry_.ReplacePod(pod).ok());
  EXPECT_FALSE(registry_.Pod(PodId("p"))->unfinished());
  EXPECT_EQ(*registry_.Entry(PodId("p")), *entry);
}

TEST_F(RegistryTest, AStoreThatLostRecordsGetsThemAll) {
  for (const char* id : {"a", "b", "c"}) ASSERT_TRUE(registry_.AddContainer(MakeContainer(id, "p")).ok());
  store_.fail = true;
  store_.error = absl::DataLossError("was damaged");
  EXPECT_TRUE(registry_.UpdateContainer(ContainerId("a"), [](auto&) {}).ok());
  store_.fail = false;
  store_.records.clear();
  EXPECT_TRUE(registry_.SaveUnsaved().ok());
  EXPECT_THAT(store_.records, SizeIs(3));
  // Also when it shows in a call that has nothing to keep.
  store_.fail = true;
  EXPECT_TRUE(absl::IsDataLoss(registry_.ForgetContainer(ContainerId("a"))));
  store_.fail = false;
  store_.records.clear();
  EXPECT_TRUE(registry_.SaveUnsaved().ok());
  EXPECT_THAT(store_.records, SizeIs(3));
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

constexpr int64_t kTomorrow = 24 * 3600 * int64_t{1'000'000'000};

TEST_F(RegistryTest, ALaterAttemptIsLaterThoughTheClockWasSetBack) {
  const int64_t future = absl::GetCurrentTimeNanos() + kTomorrow;
  state::v1::Pod pod;
  pod.set_id("p");
  pod.mutable_spec()->set_name("web");
  pod.mutable_spec()->set_uid("1");
  pod.set_created_at(future);
  ASSERT_TRUE(registry_.AddPod(pod).ok());
  EXPECT_EQ(registry_.CreationTime(pod.spec()), future + 1);
  pod.mutable_spec()->set_uid("2");
  EXPECT_LT(registry_.CreationTime(pod.spec()), future);

  state::v1::Container c = MakeContainer("c", "p");
  c.mutable_spec()->set_name("app");
  c.set_created_at(future);
  ASSERT_TRUE(registry_.AddContainer(c).ok());
  EXPECT_EQ(registry_.CreationTime(PodId("p"), c.spec()), future + 1);
  EXPECT_LT(registry_.CreationTime(PodId("q"), c.spec()), future);
  c.mutable_spec()->set_name("other");
  EXPECT_LT(registry_.CreationTime(PodId("p"), c.spec()), future);
}

TEST_F(RegistryTest, NothingEndsBeforeItBeganThoughTheClockWasSetBack) {
  state::v1::Container c = MakeContainer("c", "p");
  c.set_created_at(100);
  ASSERT_TRUE(registry_.AddContainer(c).ok());
  ASSERT_TRUE(registry_.UpdateContainer(ContainerId("c"), [](auto& made) { made.set_started_at(90); }).ok());
  EXPECT_EQ(registry_.Container(ContainerId("c"))->started_at(), 100);
  EXPECT_EQ(registry_.Container(ContainerId("c"))->finished_at(), 0);
  ASSERT_TRUE(registry_.UpdateContainer(ContainerId("c"), [](auto& ended) { ended.set_finished_at(80); }).ok());
  EXPECT_EQ(registry_.Container(ContainerId("c"))->finished_at(), 100);
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
