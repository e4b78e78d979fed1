#include "cri/state/damaged_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <random>

#include "cri/state/testing_files.h"

namespace berth::state {
namespace {

using testing::IsEmpty;

constexpr size_t kPage = 4096;

class DamagedFileTest : public StateFiles {
 protected:
  // Records that fill some pages, many of them too large for one.
  void Fill() {
    auto store = Open();
    for (int i = 0; i < 60; ++i) {
      const Kind kind = i % 3 == 0 ? Kind::kPod : Kind::kContainer;
      const std::string id = "id" + std::to_string(i);
      const std::string data = DataFor(id, i % 7 == 0 ? 9000 : i % 2 == 0 ? 300 : 2000);
      ASSERT_TRUE(store->Put(kind, id, data).ok());
      contents_[{kind, id}] = data;
    }
    for (int i = 10; i < 20; ++i) {
      const Kind kind = i % 3 == 0 ? Kind::kPod : Kind::kContainer;
      ASSERT_TRUE(store->Delete(kind, "id" + std::to_string(i)).ok());
      contents_.erase({kind, "id" + std::to_string(i)});
    }
    // As a killed daemon leaves them: closed, the log would be in the file.
    db_ = ReadAll(path_);
    wal_ = ReadAll(path_ + "-wal");
  }
  static Contents Whole(const std::vector<SalvagedRow>& rows) {
    Contents out;
    for (const SalvagedRow& r : rows) {
      if (r.whole) out[{static_cast<Kind>(r.kind), r.id}] = r.data;
    }
    return out;
  }
  // All that is found is what was stored.
  void ExpectTrue(const std::vector<SalvagedRow>& rows) {
    for (const auto& [key, data] : Whole(rows)) {
      auto stored = contents_.find(key);
      ASSERT_NE(stored, contents_.end()) << key.second;
      EXPECT_TRUE(data == stored->second) << key.second;
    }
  }
  Contents contents_;
  std::string db_, wal_;
};

TEST_F(DamagedFileTest, AWholeFileGivesEveryRow) {
  Fill();
  EXPECT_TRUE(Same(Whole(SalvageRows(db_, wal_)), contents_));
  Open().reset();  // brings the log into the file
  EXPECT_TRUE(Same(Whole(SalvageRows(ReadAll(path_), "")), contents_));
}

TEST_F(DamagedFileTest, APageThatIsGoneCostsOnlyItsRows) {
  Fill();
  Open().reset();
  db_ = ReadAll(path_);
  ASSERT_GT(db_.size(), 40 * kPage);
  for (size_t at = 0; at < db_.size(); at += kPage) {
    std::string damaged = db_;
    std::fill_n(&damaged[at], kPage, '\0');
    auto rows = SalvageRows(damaged, "");
    ExpectTrue(rows);
    // A leaf has some ten rows at most.
    EXPECT_GE(Whole(rows).size() + 15, contents_.size()) << at / kPage;
  }
}

TEST_F(DamagedFileTest, TheLogCountsUpToWhereItIsDamaged) {
  Fill();
  std::string damaged = wal_;
  damaged[wal_.size() / 2] = static_cast<char>(~damaged[wal_.size() / 2]);
  auto rows = SalvageRows(db_, damaged);
  EXPECT_LT(Whole(rows).size(), contents_.size() + 10);
  damaged[40] = static_cast<char>(~damaged[40]);  // in the first frame
  EXPECT_TRUE(Same(Whole(SalvageRows(db_, damaged)), Whole(SalvageRows(db_, ""))));
}

TEST_F(DamagedFileTest, NoInputIsTooBad) {
  Fill();
  std::mt19937 random(1);
  EXPECT_THAT(SalvageRows("", ""), IsEmpty());
  for (int round = 0; round < 300; ++round) {
    std::string db = db_ + std::string(kPage * 20, '\x0a'), wal = wal_;
    for (int i = 0; i < 200; ++i) db[random() % db.size()] = static_cast<char>(random());
    for (int i = 0; i < 3; ++i) wal[random() % wal.size()] = static_cast<char>(random());
    (void)SalvageRows(absl::string_view(db).substr(0, random() % db.size()), wal);
  }
}

}  // namespace
}  // namespace berth::state
