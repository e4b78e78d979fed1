#include "cri/state/state_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "runtime/sys/file.h"

namespace berth::state {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class StateStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char dir[] = "/tmp/berth-state-test-XXXXXX";
    ASSERT_NE(mkdtemp(dir), nullptr);
    dir_ = dir;
    path_ = dir_ + "/state.db";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok()); }
  std::unique_ptr<StateStore> Open() {
    auto store = OpenSqliteStateStore(path_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  void SetVersion(int version) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    std::string sql = absl::StrCat("PRAGMA user_version=", version);
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK);
    sqlite3_close(db);
  }
  std::string dir_, path_;
};

TEST_F(StateStoreTest, RecordsSurviveReopening) {
  std::string bytes("\0\xff binary", 9);
  {
    auto store = Open();
    ASSERT_TRUE(store->Put(Kind::kPod, "p1", bytes).ok());
    ASSERT_TRUE(store->Put(Kind::kContainer, "p1", "same id, other kind").ok());
    ASSERT_TRUE(store->Put(Kind::kPod, "p2", "old").ok());
    ASSERT_TRUE(store->Put(Kind::kPod, "p2", "new").ok());
    ASSERT_TRUE(store->Delete(Kind::kContainer, "p1").ok());
    ASSERT_TRUE(store->Delete(Kind::kContainer, "never there").ok());
  }
  auto loaded = Open()->Load();
  ASSERT_TRUE(loaded.ok());
  ASSERT_THAT(loaded->records, SizeIs(2));
  EXPECT_THAT(loaded->damage, IsEmpty());
  EXPECT_EQ(loaded->records[0].data, bytes);
  EXPECT_EQ(loaded->records[1].data, "new");
}

TEST_F(StateStoreTest, DamagedFileIsSetAsideAndReported) {
  std::ofstream(path_) << std::string(8192, 'x');
  auto store = Open();
  ASSERT_TRUE(store->Put(Kind::kPod, "p", "d").ok());
  auto loaded = store->Load();
  ASSERT_TRUE(loaded.ok());
  ASSERT_THAT(loaded->damage, SizeIs(1));
  EXPECT_THAT(loaded->damage[0], HasSubstr("state.db.damaged-1"));
  EXPECT_THAT(loaded->records, SizeIs(1));
  EXPECT_TRUE(sys::ReadFile(path_ + ".damaged-1").ok());
}

TEST_F(StateStoreTest, NewerVersionIsRefusedAndKept) {
  ASSERT_TRUE(Open()->Put(Kind::kPod, "p", "d").ok());
  SetVersion(99);
  EXPECT_EQ(OpenSqliteStateStore(path_).status().code(), absl::StatusCode::kFailedPrecondition);
  SetVersion(1);
  EXPECT_THAT(Open()->Load()->records, SizeIs(1));
}

TEST_F(StateStoreTest, MissingDirectoryIsAnError) { EXPECT_FALSE(OpenSqliteStateStore(dir_ + "/no/state.db").ok()); }

}  // namespace
}  // namespace berth::state
