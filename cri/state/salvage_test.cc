// Database files as bad disks, people and accidents leave them: opening one is not an error, and what can be read is
// there.
#include "cri/state/salvage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "cri/state/testing_files.h"

namespace berth::state {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::StartsWith;

constexpr size_t kPage = 4096;

class SalvageTest : public StateFiles {
 protected:
  void SetUp() override {
    StateFiles::SetUp();
    auto store = Open();
    for (int i = 0; i < 12; ++i) {
      const Kind kind = i % 2 == 0 ? Kind::kPod : Kind::kContainer;
      const std::string id = "id" + std::to_string(i), data = DataFor(id, i % 3 == 0 ? 5000 : 400);
      ASSERT_TRUE(store->Put(kind, id, data).ok());
      contents_[{kind, id}] = data;
    }
    // What a killed daemon leaves, and then what one leaves that ended in order.
    killed_db_ = ReadAll(path_);
    killed_wal_ = ReadAll(path_ + "-wal");
    store.reset();
    db_ = ReadAll(path_);
    ASSERT_GT(db_.size(), 4 * kPage);
  }
  void Place(const std::string& db, const std::string& wal = "", const std::string& shm = "") {
    for (const char* part : {"", "-wal", "-shm"}) {
      ASSERT_TRUE(sys::RemoveTreeAt(AT_FDCWD, path_ + part).ok());
    }
    WriteAll(path_, db);
    if (!wal.empty()) WriteAll(path_ + "-wal", wal);
    if (!shm.empty()) WriteAll(path_ + "-shm", shm);
  }
  // Whatever lies there: the store opens, gives nothing that was not stored, works, and has nothing to tell when it is
  // opened again. Returns what was reported.
  Loaded ExpectUsable() {
    Loaded first = Load();
    for (const auto& [key, data] : ContentsOf(first)) {
      auto stored = contents_.find(key);
      EXPECT_NE(stored, contents_.end()) << "nobody's: " << key.second;
      if (stored != contents_.end()) {
        EXPECT_TRUE(data == stored->second) << key.second;
      }
    }
    {
      auto store = Open();
      EXPECT_TRUE(store->Put(Kind::kPod, "new", "data").ok());
      EXPECT_TRUE(store->Put(Kind::kPod, "id0", "other").ok());
    }
    Loaded second = Load();
    EXPECT_THAT(second.damage, IsEmpty());
    EXPECT_EQ(second.records.size(), first.records.size() + 1 + (ContentsOf(first).count({Kind::kPod, "id0"}) == 0));
    return first;
  }
  Contents contents_;
  std::string killed_db_, killed_wal_, db_;
};

TEST_F(SalvageTest, NothingIsReportedOfSoundFiles) {
  for (const auto& [db, wal] : {std::pair(db_, std::string()), std::pair(killed_db_, killed_wal_)}) {
    Place(db, wal);
    Loaded loaded = Load();
    EXPECT_THAT(loaded.damage, IsEmpty());
    EXPECT_TRUE(Same(ContentsOf(loaded), contents_));
  }
}

// Each row is as it was stored, or it is missing and something was reported.
TEST_F(SalvageTest, AnyDamagedByteIsMendedOrHarmless) {
  size_t reported = 0, tried = 0;
  for (size_t page = 0; page < db_.size(); page += kPage) {
    for (size_t at = 0; at < kPage; at += at < 108 ? 1 : 83) {
      std::string damaged = db_;
      damaged[page + at] = static_cast<char>(~damaged[page + at]);
      Place(damaged);
      if (page == 0 && at == 63) {  // the last byte of user_version: a database of a daemon to come
        EXPECT_EQ(OpenSqliteStateStore(path_).status().code(), absl::StatusCode::kFailedPrecondition);
        continue;
      }
      Loaded loaded = Load();
      for (const auto& [key, data] : ContentsOf(loaded)) {
        ASSERT_TRUE(contents_.count(key) != 0 && contents_[key] == data) << key.second << " with byte " << page + at;
      }
      ASSERT_TRUE(loaded.records.size() == contents_.size() || !loaded.damage.empty()) << "byte " << page + at;
      reported += !loaded.damage.empty();
      ++tried;
      ASSERT_THAT(Load().damage, IsEmpty()) << "byte " << page + at;
    }
  }
  EXPECT_GT(reported, tried / 4);
}

TEST_F(SalvageTest, APageOfZerosOrGarbage) {
  for (size_t page = 0; page < db_.size(); page += kPage) {
    for (const char fill : {'\0', '\xff', '\x0a'}) {
      std::string damaged = db_;
      std::fill_n(&damaged[page], kPage, fill);
      Place(damaged);
      SCOPED_TRACE(absl::StrCat("page ", page / kPage, " fill ", int{fill}));
      EXPECT_THAT(ExpectUsable().damage, testing::Not(IsEmpty()));
    }
  }
}

TEST_F(SalvageTest, TruncatedAnywhere) {
  for (size_t size = 0; size < db_.size(); size += kPage / 2) {
    Place(db_.substr(0, size));
    SCOPED_TRACE(size);
    Loaded loaded = ExpectUsable();
    // An empty file is a new database: nothing says that there was another.
    EXPECT_EQ(loaded.damage.empty(), size == 0);
  }
}

TEST_F(SalvageTest, TheFirstPageIsNotNeeded) {
  std::string damaged = db_;
  std::fill_n(damaged.begin(), kPage, '\0');
  Place(damaged);
  Loaded loaded = ExpectUsable();
  EXPECT_TRUE(Same(ContentsOf(loaded), contents_));
  EXPECT_THAT(loaded.damage, SizeIs(1));
  EXPECT_THAT(loaded.damage[0], HasSubstr(path_ + ".damaged-1', 12 records were saved"));
  EXPECT_EQ(ReadAll(path_ + ".damaged-1"), damaged);
}

TEST_F(SalvageTest, WhatIsLostIsNamed) {
  const size_t at = db_.find(DataFor("id4", 400).substr(0, 50));
  ASSERT_NE(at, std::string::npos);
  db_[at + 20] = static_cast<char>(~db_[at + 20]);
  Place(db_);
  Loaded loaded = ExpectUsable();
  ASSERT_THAT(loaded.damage, SizeIs(2));
  EXPECT_THAT(loaded.damage[0], HasSubstr("record 'id4' is not what was stored"));
  EXPECT_EQ(loaded.damage[1], "lost: the record of pod 'id4'");
  EXPECT_THAT(loaded.records, SizeIs(11));
}

TEST_F(SalvageTest, GarbageBesideTheFile) {
  const std::string garbage(70000, 'g');
  Place(db_, garbage, garbage);
  EXPECT_TRUE(Same(ContentsOf(ExpectUsable()), contents_));
  Place(killed_db_, killed_wal_, garbage);
  EXPECT_TRUE(Same(ContentsOf(ExpectUsable()), contents_));
  Place(db_, std::string(32, '\0'));
  EXPECT_TRUE(Same(ContentsOf(ExpectUsable()), contents_));
}

// SQLite drops a log whose file is empty.
TEST_F(SalvageTest, AnEmptyFileWithALog) {
  Place("", killed_wal_);
  Loaded loaded = ExpectUsable();
  EXPECT_TRUE(Same(ContentsOf(loaded), contents_));
  EXPECT_THAT(loaded.damage, SizeIs(1));
}

TEST_F(SalvageTest, SomethingElseInAFilesPlace) {
  for (const char* part : {"", "-wal", "-shm"}) {
    SCOPED_TRACE(part);
    Place(db_);
    unlink((path_ + part).c_str());
    ASSERT_EQ(mkdir((path_ + part).c_str(), 0700), 0);
    WriteAll(path_ + part + "/inner", "x");
    EXPECT_THAT(ExpectUsable().damage, testing::Not(IsEmpty()));
    Place(db_);
    unlink((path_ + part).c_str());
    ASSERT_EQ(mkfifo((path_ + part).c_str(), 0600), 0);
    EXPECT_THAT(ExpectUsable().damage, testing::Not(IsEmpty()));
    Place(db_);
    unlink((path_ + part).c_str());
    ASSERT_EQ(symlink("nowhere/at/all", (path_ + part).c_str()), 0);
    EXPECT_THAT(ExpectUsable().damage, testing::Not(IsEmpty()));
  }
}

TEST_F(SalvageTest, ALinkToAFileIsFollowed) {
  ASSERT_EQ(rename(path_.c_str(), (dir_ + "/elsewhere").c_str()), 0);
  for (const char* part : {"-wal", "-shm"}) unlink((path_ + part).c_str());
  ASSERT_EQ(symlink("elsewhere", path_.c_str()), 0);
  Loaded loaded = Load();
  EXPECT_THAT(loaded.damage, IsEmpty());
  EXPECT_TRUE(Same(ContentsOf(loaded), contents_));
}

TEST_F(SalvageTest, AnothersDatabase) {
  Place("");
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, "CREATE TABLE x (y); INSERT INTO x VALUES (1)", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(db);
  Loaded loaded = ExpectUsable();
  ASSERT_THAT(loaded.damage, SizeIs(1));
  EXPECT_THAT(loaded.damage[0], HasSubstr("no database of berth"));
}

TEST_F(SalvageTest, OnlyTheLastDamagedFilesAreKept) {
  for (int i = 0; i < 2 * kMostDamagedFiles; ++i) {
    Place("x" + db_);
    EXPECT_THAT(Load().damage, testing::Not(IsEmpty()));
  }
  auto dir = sys::Open(dir_, O_RDONLY | O_DIRECTORY);
  ASSERT_TRUE(dir.ok());
  auto names = sys::ListDir(dir->get());
  ASSERT_TRUE(names.ok());
  int kept = 0;
  for (const std::string& name : *names) kept += absl::StrContains(name, ".damaged-");
  EXPECT_EQ(kept, kMostDamagedFiles);
  EXPECT_TRUE(sys::ReadFile(path_ + ".damaged-8").ok());
}

// At each point at which a salvage may be killed, what is on the disk is taken up.
TEST_F(SalvageTest, InterruptedSalvagesAreFinished) {
  std::string damaged = db_;
  std::fill_n(damaged.begin(), kPage, '\0');
  const auto expect = [&](const char* when) {
    SCOPED_TRACE(when);
    EXPECT_TRUE(Same(ContentsOf(Load()), contents_));
    EXPECT_TRUE(Same(ContentsOf(Load()), contents_));
    EXPECT_NE(access((path_ + ".salvaged").c_str(), F_OK), 0);
    EXPECT_NE(access((path_ + ".salvage").c_str(), F_OK), 0);
  };
  Place(damaged);
  WriteAll(path_ + ".salvage", db_.substr(0, 5000));
  expect("while the new one is written");
  Place(damaged, killed_wal_);
  WriteAll(path_ + ".salvaged", db_);
  expect("before the old one is moved");
  Place(damaged);
  WriteAll(path_ + ".salvaged", db_);
  expect("after its log was moved");
  Place("");
  unlink(path_.c_str());
  WriteAll(path_ + ".salvaged", db_);
  expect("before the new one takes its place");
}

TEST_F(SalvageTest, WhatCannotBeWrittenIsNamed) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root: to mount";
  if (unshare(CLONE_NEWNS) != 0) GTEST_SKIP() << "no mount namespaces here";
  ASSERT_EQ(mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  ASSERT_EQ(mount(dir_.c_str(), dir_.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_EQ(mount("", dir_.c_str(), nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY, nullptr), 0);
  absl::Status refused = OpenSqliteStateStore(path_).status();
  ASSERT_EQ(umount(dir_.c_str()), 0);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(path_));
  EXPECT_TRUE(Same(ContentsOf(Load()), contents_));
}

// The damage comes while the store is open.
TEST_F(SalvageTest, AStoreMendsItselfWhileItIsOpen) {
  for (int i = 0; i < 400; ++i)
    contents_[{Kind::kPod, "more" + std::to_string(i)}] = DataFor(std::to_string(i), 9000);  // more than is cached
  {
    auto store = Open();
    for (const auto& [key, data] : contents_) ASSERT_TRUE(store->Put(key.first, key.second, data).ok());
  }
  auto store = Open();
  std::string file = ReadAll(path_);
  {
    std::fstream f(path_, std::ios::binary | std::ios::in | std::ios::out);
    for (size_t page = 2; page < file.size() / kPage; page += 2)
      f.seekp(static_cast<std::streamoff>(page * kPage)).write(std::string(kPage, 'z').data(), kPage);
  }
  absl::Status first;
  for (const auto& [key, data] : contents_) {
    absl::Status s = store->Put(key.first, key.second, data);
    if (!s.ok() && first.ok()) first = s;
  }
  EXPECT_EQ(first.code(), absl::StatusCode::kDataLoss) << first;
  EXPECT_THAT(std::string(first.message()), HasSubstr("damaged-1"));
  for (const auto& [key, data] : contents_) EXPECT_TRUE(store->Put(key.first, key.second, data).ok());
  store.reset();
  EXPECT_TRUE(Same(ContentsOf(Load()), contents_));
}

}  // namespace
}  // namespace berth::state
