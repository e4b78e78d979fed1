#include "cri/pod/records.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "cri/pod/registry.h"
#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

using state::Kind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class RecordsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    auto store = state::OpenSqliteStateStore(dir_ + "/state.db");
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  void PutPod(const std::string& id) {
    state::v1::Pod pod;
    pod.set_id(id);
    ASSERT_TRUE(store_->Put(Kind::kPod, id, pod.SerializeAsString()).ok());
  }
  void PutContainer(const std::string& id, const std::string& pod) {
    state::v1::Container c;
    c.set_id(id);
    c.set_pod_id(pod);
    ASSERT_TRUE(store_->Put(Kind::kContainer, id, c.SerializeAsString()).ok());
  }
  std::string dir_ = "/tmp/berth-records-test-XXXXXX";
  std::unique_ptr<state::StateStore> store_;
};

TEST_F(RecordsTest, WhatMeansNothingIsSetAsideAndToldOnce) {
  PutPod("p1");
  PutContainer("c1", "p1");
  PutContainer("orphan", "p2");
  ASSERT_TRUE(store_->Put(Kind::kPod, "garbage", "\xff\xff\xff").ok());
  state::v1::Container other;
  other.set_id("c1");
  other.set_pod_id("p1");
  ASSERT_TRUE(store_->Put(Kind::kContainer, "c2", other.SerializeAsString()).ok());
  auto first = ReadRecords(*store_);
  ASSERT_TRUE(first.ok());
  EXPECT_THAT(first->pods, SizeIs(1));
  EXPECT_THAT(first->containers, SizeIs(1));
  EXPECT_THAT(first->damage, ElementsAre(HasSubstr("pod 'garbage': its record cannot be read"),
                                         HasSubstr("container 'c2': its record is of another id, 'c1'"),
                                         HasSubstr("container 'orphan': its record is of pod 'p2'")));
  auto second = ReadRecords(*store_);
  ASSERT_TRUE(second.ok());
  EXPECT_THAT(second->damage, IsEmpty());
  EXPECT_THAT(second->pods, SizeIs(1));
}

// An older daemon's record has fewer fields, and is none the worse for it.
TEST_F(RecordsTest, MissingFieldsHaveTheirDefaults) {
  PutPod("p1");
  auto records = ReadRecords(*store_);
  ASSERT_TRUE(records.ok());
  ASSERT_THAT(records->pods, SizeIs(1));
  const state::v1::Pod& pod = records->pods[0];
  EXPECT_FALSE(pod.unfinished());
  EXPECT_EQ(pod.boot_id(), "");
  EXPECT_EQ(pod.state(), state::v1::Pod::READY);
}

// A newer daemon's record has fields that this one knows nothing of, and keeps when it writes the record again, so that
// the newer one finds them should it come back.
TEST_F(RecordsTest, UnknownFieldsOutliveAChange) {
  state::v1::Container c;
  c.set_id("c1");
  c.set_pod_id("p1");
  const std::string unknown = "\xfa\x3f\x04new!";  // field 1023, as bytes
  PutPod("p1");
  ASSERT_TRUE(store_->Put(Kind::kContainer, "c1", c.SerializeAsString() + unknown).ok());
  auto records = ReadRecords(*store_);
  ASSERT_TRUE(records.ok() && records->containers.size() == 1);
  Registry registry(*store_);
  registry.RestoreContainer(records->containers[0]);
  ASSERT_TRUE(registry.UpdateContainer(ContainerId("c1"), [](auto& record) { record.set_exit_code(7); }).ok());
  auto loaded = store_->Load();
  ASSERT_TRUE(loaded.ok());
  for (const state::Record& record : loaded->records) {
    if (record.kind != Kind::kContainer) continue;
    EXPECT_THAT(record.data, HasSubstr(unknown));
    state::v1::Container back;
    EXPECT_TRUE(back.ParseFromString(record.data) && back.exit_code() == 7);
  }
}

}  // namespace
}  // namespace berth::pod
