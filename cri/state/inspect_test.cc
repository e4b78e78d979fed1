#include "cri/state/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "cri/state/state_store.h"
#include "runtime/sys/file.h"

namespace berth::state {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;

class InspectTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-inspect-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
    db_ = dir_ + "/state.db";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  std::map<std::string, std::string> Files() {
    std::map<std::string, std::string> files;
    auto names = sys::ListDir(sys::Open(dir_, O_RDONLY)->get());
    for (const std::string& name : *names) files[name] = *sys::ReadFile(dir_ + "/" + name);
    return files;
  }
  std::string dir_, db_;
};

TEST_F(InspectTest, NoDatabaseIsNotMade) {
  auto found = InspectStateDb(db_, false);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_FALSE(found->exists);
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(InspectTest, ReadsWhatStandsInTheJournalAloneAndChangesNothing) {
  // As a daemon that is killed leaves them: copied while it has the database open.
  auto store = *OpenSqliteStateStore(dir_ + "/live.db");
  ASSERT_TRUE(store->Put(Kind::kPod, "p", "pod").ok());
  ASSERT_TRUE(store->Put(Kind::kContainer, "c", std::string("\0x", 2)).ok());
  for (const char* part : {"", "-wal", "-shm"}) {
    std::ofstream(db_ + part, std::ios::binary) << *sys::ReadFile(dir_ + "/live.db" + part, 16 << 20);
  }
  store.reset();
  const auto before = Files();
  auto found = InspectStateDb(db_, false);
  ASSERT_TRUE(found.ok()) << found.status();
  ASSERT_EQ(found->records.size(), 2u);
  EXPECT_EQ(found->records[0].id, "p");
  EXPECT_EQ(found->records[1].kind, 1);
  EXPECT_EQ(found->records[1].data, std::string("\0x", 2));
  EXPECT_THAT(found->damage, IsEmpty());
  EXPECT_EQ(Files(), before);
}

TEST_F(InspectTest, ReadsBesideTheDaemonThatHasItOpen) {
  auto store = *OpenSqliteStateStore(db_);
  ASSERT_TRUE(store->Put(Kind::kPod, "p", "pod").ok());
  auto found = InspectStateDb(db_, true);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->records.size(), 1u);
  ASSERT_TRUE(store->Put(Kind::kPod, "q", "pod").ok());
  EXPECT_EQ(InspectStateDb(db_, true)->records.size(), 2u);
}

TEST_F(InspectTest, DamageIsToldAndLeftAlone) {
  std::ofstream(db_) << std::string(8192, 'x');
  const auto before = Files();
  auto found = InspectStateDb(db_, false);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->exists);
  EXPECT_THAT(found->damage, Not(IsEmpty()));
  EXPECT_EQ(Files(), before);
}

TEST_F(InspectTest, FindsWhatWasSetAside) {
  std::ofstream(db_ + ".damaged-1") << "x";
  std::ofstream(db_ + ".damaged-1-wal") << "x";
  EXPECT_THAT(DamagedFilesBeside(db_), ElementsAre(db_ + ".damaged-1"));
}

}  // namespace
}  // namespace berth::state
