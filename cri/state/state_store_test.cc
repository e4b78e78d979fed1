// What every state store promises, asked of the real one in this process and of one in a process that is killed.
#include "cri/state/state_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <optional>
#include <random>
#include <thread>

#include "cri/state/testing_child.h"
#include "cri/state/testing_files.h"

namespace berth::state {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

enum class Process { kOurs, kKilled };

class StateStoreTest : public StateFiles, public testing::WithParamInterface<Process> {
 protected:
  void SetUp() override {
    StateFiles::SetUp();
    Reopen();
  }
  void Reopen() {
    store_.reset();  // which kills the one in a process of its own
    if (GetParam() == Process::kKilled) {
      store_ = std::make_unique<ChildStore>(path_);
    } else {
      store_ = Open();
    }
  }
  Contents Stored() {
    Reopen();
    auto loaded = store_->Load();
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_THAT(loaded->damage, IsEmpty());
    return ContentsOf(*loaded);
  }
  std::unique_ptr<StateStore> store_;
};

TEST_P(StateStoreTest, RecordsSurviveReopening) {
  const std::string bytes("\0\xff binary", 9);
  ASSERT_TRUE(store_->Put(Kind::kPod, "p1", bytes).ok());
  ASSERT_TRUE(store_->Put(Kind::kContainer, "p1", "same id, other kind").ok());
  ASSERT_TRUE(store_->Put(Kind::kPod, "p2", "old").ok());
  ASSERT_TRUE(store_->Put(Kind::kPod, "p2", "new").ok());
  ASSERT_TRUE(store_->Put(Kind::kPod, "empty", "").ok());
  ASSERT_TRUE(store_->Delete(Kind::kContainer, "p1").ok());
  ASSERT_TRUE(store_->Delete(Kind::kContainer, "never there").ok());
  const Contents want = {{{Kind::kPod, "p1"}, bytes}, {{Kind::kPod, "p2"}, "new"}, {{Kind::kPod, "empty"}, ""}};
  EXPECT_TRUE(Same(Stored(), want));
}

TEST_P(StateStoreTest, LargeAndManyRecords) {
  Contents want;
  for (int i = 0; i < 300; ++i) {
    const std::string id = std::to_string(i);
    const std::string data = DataFor(id, i % 50 == 0 ? 60000 : 700);
    ASSERT_TRUE(store_->Put(Kind::kContainer, id, data).ok());
    want[{Kind::kContainer, id}] = data;
  }
  EXPECT_TRUE(Same(Stored(), want));
  for (int i = 0; i < 300; i += 2) {
    ASSERT_TRUE(store_->Delete(Kind::kContainer, std::to_string(i)).ok());
    want.erase({Kind::kContainer, std::to_string(i)});
  }
  EXPECT_TRUE(Same(Stored(), want));
}

TEST_P(StateStoreTest, WhatIsSetAsideIsNotLoadedAgain) {
  ASSERT_TRUE(store_->Put(Kind::kPod, "good", "1").ok());
  ASSERT_TRUE(store_->Put(Kind::kPod, "bad", "2").ok());
  ASSERT_TRUE(store_->SetAside(Kind::kPod, "bad", "it means nothing").ok());
  ASSERT_TRUE(store_->SetAside(Kind::kPod, "never there", "it means nothing").ok());
  EXPECT_THAT(Stored(), SizeIs(1));
  ASSERT_TRUE(store_->Put(Kind::kPod, "bad", "3").ok());
  EXPECT_THAT(Stored(), SizeIs(2));
}

INSTANTIATE_TEST_SUITE_P(, StateStoreTest, testing::Values(Process::kOurs, Process::kKilled), [](const auto& p) {
  return p.param == Process::kOurs ? "InThisProcess" : "InOneThatIsKilled";
});

class SqliteTest : public StateFiles {
 protected:
  void Sql(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_close(db);
  }
};

// A process that puts and deletes is killed between calls and within them: every answered call is there, the one that
// was not answered is there or not, and nothing else.
TEST_F(SqliteTest, EveryAnsweredCallSurvivesAKill) {
  std::mt19937 random(20);
  Contents model;
  for (int round = 0; round < 40; ++round) {
    ChildStore child(path_);
    ASSERT_TRUE(child.Delete(Kind::kPod, "it is open").ok());
    const auto alive = std::chrono::microseconds(random() % 20000);
    std::thread killer([pid = child.pid(), alive] {
      std::this_thread::sleep_for(alive);
      kill(pid, SIGKILL);
    });
    std::optional<std::pair<Kind, std::string>> unanswered;
    std::optional<std::string> unanswered_data;
    while (!unanswered) {
      const Kind kind = random() % 3 == 0 ? Kind::kPod : Kind::kContainer;
      const std::string id = std::to_string(random() % 40);
      const bool deletes = random() % 4 == 0;
      const std::string data = DataFor(std::to_string(random()), 100 + random() % 6000);
      absl::Status s = deletes ? child.Delete(kind, id) : child.Put(kind, id, data);
      if (absl::IsUnavailable(s)) {
        unanswered = {kind, id};
        if (!deletes) unanswered_data = data;
        break;
      }
      ASSERT_TRUE(s.ok()) << s;
      if (deletes) {
        model.erase({kind, id});
      } else {
        model[{kind, id}] = data;
      }
    }
    killer.join();
    child.Kill();
    Loaded loaded = Load();
    EXPECT_THAT(loaded.damage, IsEmpty());
    Contents found = ContentsOf(loaded), other = model;
    if (unanswered_data) {
      other[*unanswered] = *unanswered_data;
    } else {
      other.erase(*unanswered);
    }
    ASSERT_TRUE(found == model || found == other) << "round " << round;
    model = std::move(found);
  }
}

TEST_F(SqliteTest, NewerVersionIsRefusedAndKept) {
  ASSERT_TRUE(Open()->Put(Kind::kPod, "p", "d").ok());
  Sql("PRAGMA user_version=99");
  absl::Status refused = OpenSqliteStateStore(path_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("version 99"));
  Sql("PRAGMA user_version=1");
  EXPECT_THAT(Load().records, SizeIs(1));
}

// As the first daemons made it: records without a seal, no table of damaged ones, and what SQLite's defaults are here.
TEST_F(SqliteTest, DatabasesOfFormerDaemonsAreTakenUp) {
  Sql("PRAGMA journal_mode=WAL; CREATE TABLE records (kind INTEGER NOT NULL, id TEXT NOT NULL, data BLOB NOT NULL, "
      "PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID; PRAGMA user_version=1; INSERT INTO records VALUES (0, 'p', "
      "x'0a0170')");
  Loaded loaded = Load();
  EXPECT_THAT(loaded.damage, IsEmpty());
  EXPECT_TRUE(Same(ContentsOf(loaded), (Contents{{{Kind::kPod, "p"}, "\x0a\x01p"}})));
  ASSERT_TRUE(Open()->Put(Kind::kPod, "p", "x").ok());
  // And they go on with ours: their statements are these.
  Sql("INSERT OR REPLACE INTO records VALUES (1, 'c', x'0a0163'); DELETE FROM records WHERE kind = 0 AND id = 'p'");
  EXPECT_EQ(ContentsOf(Load()), (Contents{{{Kind::kContainer, "c"},
                                           "\x0a\x01"
                                           "c"}}));
}

TEST_F(SqliteTest, KindsOfANewerDaemonAreReportedAndLeftAlone) {
  ASSERT_TRUE(Open()->Put(Kind::kPod, "p", "d").ok());
  Sql("INSERT INTO records VALUES (7, 'strange', x'0a07737472616e6765')");
  Loaded first = Load();
  ASSERT_THAT(first.damage, SizeIs(1));
  EXPECT_EQ(first.damage[0], "record 'strange': unknown kind 7, left alone");
  EXPECT_THAT(first.records, SizeIs(1));
  EXPECT_THAT(Load().damage, SizeIs(1));
}

TEST_F(SqliteTest, OfWhatIsSetAsideTheLastAreKept) {
  auto store = Open();
  for (int i = 0; i < 130; ++i) {
    ASSERT_TRUE(store->Put(Kind::kPod, std::to_string(i), "d").ok());
    ASSERT_TRUE(store->SetAside(Kind::kPod, std::to_string(i), "why").ok());
  }
  store.reset();
  Sql("CREATE TEMP TABLE must (n INTEGER CHECK (n = 100)); INSERT INTO must SELECT count(*) FROM damaged; "
      "INSERT INTO must SELECT 100 + min(CAST(id AS INTEGER)) - 30 FROM damaged");
}

TEST_F(SqliteTest, MissingDirectoryIsAnError) { EXPECT_FALSE(OpenSqliteStateStore(dir_ + "/no/state.db").ok()); }

}  // namespace
}  // namespace berth::state
