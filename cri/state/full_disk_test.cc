// A disk without a single free block: what is there can be changed and deleted all the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "cri/state/testing_files.h"

namespace berth::state {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class FullDiskTest : public StateFiles {
 protected:
  void SetUp() override {
    StateFiles::SetUp();
    if (geteuid() != 0) GTEST_SKIP() << "needs root: to mount";
    if (unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "no mount namespaces here";
    ASSERT_EQ(mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    ASSERT_EQ(mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=16m"), 0);
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) {
      EXPECT_EQ(umount2(dir_.c_str(), MNT_DETACH), 0);
    }
    StateFiles::TearDown();
  }
  // To the last block.
  void FillDisk() {
    auto file = sys::Open(dir_ + "/filler", O_WRONLY | O_CREAT | O_APPEND, 0600);
    ASSERT_TRUE(file.ok());
    const std::string block(4096, 'f');
    while (write(file->get(), block.data(), block.size()) > 0) continue;
    EXPECT_EQ(errno, ENOSPC);
  }
  bool mounted_ = false;
};

TEST_F(FullDiskTest, WhatIsThereCanBeChangedAndDeleted) {
  auto store = Open();
  Contents want;
  for (int i = 0; i < 200; ++i) {
    const std::string id = std::to_string(i);
    want[{Kind::kContainer, id}] = DataFor(id, 3000);
    ASSERT_TRUE(store->Put(Kind::kContainer, id, DataFor(id, 3000)).ok());
  }
  FillDisk();
  absl::Status refused = store->Put(Kind::kPod, "new", "d");
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(path_));
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 200; ++i) {
      const std::string id = std::to_string(i);
      std::string& data = want[{Kind::kContainer, id}];
      data = DataFor(std::to_string(round), 3000 + static_cast<size_t>(round) * 20);  // somewhat larger each time
      ASSERT_TRUE(store->Put(Kind::kContainer, id, data).ok()) << round;
    }
  }
  for (int i = 0; i < 200; i += 2) {
    ASSERT_TRUE(store->Delete(Kind::kContainer, std::to_string(i)).ok());
    want.erase({Kind::kContainer, std::to_string(i)});
  }
  store.reset();
  Loaded loaded = Load();  // and a daemon starts
  EXPECT_THAT(loaded.damage, IsEmpty());
  EXPECT_TRUE(Same(ContentsOf(loaded), want));
  unlink((dir_ + "/filler").c_str());
  EXPECT_TRUE(Open()->Put(Kind::kPod, "new", "d").ok());
}

// Who fills the disk takes every block that becomes free.
TEST_F(FullDiskTest, AlsoWhileSomebodyGoesOnFillingTheDisk) {
  auto store = Open();
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(store->Put(Kind::kPod, std::to_string(i), DataFor("x", 2000)).ok());
  FillDisk();
  std::atomic<bool> ended = false;
  std::thread filler([&] {
    while (!ended) FillDisk();
  });
  for (int i = 0; i < 3000; ++i) {
    absl::Status s = store->Put(Kind::kPod, std::to_string(i % 50), DataFor(std::to_string(i), 2000));
    EXPECT_TRUE(s.ok()) << i << ": " << s;
    if (!s.ok()) break;
    if (i % 500 == 0) store.reset(), store = Open();
  }
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(store->Delete(Kind::kPod, std::to_string(i)).ok());
  ended = true;
  filler.join();
}

TEST_F(FullDiskTest, NothingIsMadeOnADiskThatIsFullAlready) {
  FillDisk();
  absl::Status refused = OpenSqliteStateStore(path_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(path_));
  unlink((dir_ + "/filler").c_str());
  EXPECT_TRUE(Open()->Put(Kind::kPod, "p", "d").ok());
}

// A failed write leaves the store as it was, also when its reserve is used up.
TEST_F(FullDiskTest, WithoutItsReserveCallsFailAndChangeNothing) {
  auto store = Open();
  ASSERT_TRUE(store->Put(Kind::kPod, "p", "small").ok());
  FillDisk();
  absl::Status s;
  size_t size = 1 << 16;
  std::string last = "small";
  for (; s.ok() && size < (16 << 20); size *= 2) {
    s = store->Put(Kind::kPod, "p", std::string(size, 'x'));
    if (s.ok()) last = std::string(size, 'x');
  }
  EXPECT_EQ(s.code(), absl::StatusCode::kResourceExhausted) << s;
  EXPECT_TRUE(Same(ContentsOf(*store->Load()), (Contents{{{Kind::kPod, "p"}, last}})));
  unlink((dir_ + "/filler").c_str());
  EXPECT_TRUE(store->Put(Kind::kPod, "p", "again").ok());
  store.reset();
  EXPECT_TRUE(Same(ContentsOf(Load()), (Contents{{{Kind::kPod, "p"}, "again"}})));
}

}  // namespace
}  // namespace berth::state
