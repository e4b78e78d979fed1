#include "image/catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/status/status.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string Digest(char c) { return "sha256:" + std::string(64, c); }

ImageRow Row(char id) {
  ImageRow row;
  row.id = ImageId(Digest(id));
  row.manifest_digest = Digest('f');
  row.size = 1000;
  row.pulled_at = absl::FromUnixMicros(1'700'000'000'000'000 + id);
  row.config = R"({"os":"linux"})";
  row.layers = {Digest('1'), Digest('2'), Digest('1')};
  return row;
}

class CatalogTest : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/berth-catalog-test-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    dir_ = path;
    Reopen();
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Path() const { return dir_ + "/images.db"; }
  void Reopen() {
    catalog_.reset();
    auto opened = Catalog::Open(Path());
    ASSERT_TRUE(opened.ok()) << opened.status();
    catalog_ = *std::move(opened);
  }
  // What a bug or a person with an editor does.
  void Sql(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(Path().c_str(), &db), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_close(db);
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    auto rows = catalog_->ListImages();
    EXPECT_TRUE(rows.ok()) << rows.status();
    for (const ImageRow& row : rows.value_or(std::vector<ImageRow>())) ids.push_back(row.id.str());
    return ids;
  }
  std::string dir_;
  std::unique_ptr<Catalog> catalog_;
};

TEST_F(CatalogTest, AnImageComesBackAsItWasPutAlsoAfterReopening) {
  ImageRow row = Row('a');
  row.pinned = true;
  row.tags = {"docker.io/library/x:2", "docker.io/library/x:1"};
  row.digests = {"docker.io/library/x@" + Digest('f')};
  ASSERT_TRUE(catalog_->PutImage(row).ok());
  Reopen();
  auto found = catalog_->FindByRef("docker.io/library/x:1");
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->id, row.id);
  EXPECT_EQ(found->manifest_digest, row.manifest_digest);
  EXPECT_EQ(found->size, 1000u);
  EXPECT_TRUE(found->pinned);
  EXPECT_EQ(found->pulled_at, row.pulled_at);
  EXPECT_EQ(found->config, row.config);
  EXPECT_EQ(found->layers, row.layers);
  EXPECT_THAT(found->tags, ElementsAre("docker.io/library/x:1", "docker.io/library/x:2"));
  EXPECT_EQ(found->digests, row.digests);
  EXPECT_TRUE(catalog_->FindByRef(row.digests[0]).ok());
  EXPECT_TRUE(absl::IsNotFound(catalog_->FindByRef("docker.io/library/x").status()));
  EXPECT_THAT(catalog_->Problems(), IsEmpty());
}

TEST_F(CatalogTest, AMovedTagLeavesTheOldImageByItsDigest) {
  ImageRow old_row = Row('a');
  old_row.tags = {"r/x:latest"};
  old_row.digests = {"r/x@" + Digest('8')};
  ImageRow new_row = Row('b');
  new_row.layers = {Digest('3')};
  new_row.tags = {"r/x:latest"};
  new_row.digests = {"r/x@" + Digest('9')};
  ASSERT_TRUE(catalog_->PutImage(old_row).ok());
  ASSERT_TRUE(catalog_->PutImage(new_row).ok());
  EXPECT_EQ(catalog_->FindByRef("r/x:latest")->id, new_row.id);
  auto left = catalog_->FindById(old_row.id.str());
  EXPECT_THAT(left->tags, IsEmpty());
  EXPECT_EQ(left->digests, old_row.digests);
  EXPECT_THAT(*catalog_->LayersInUse(), ElementsAre(Digest('1'), Digest('2'), Digest('3')));
}

TEST_F(CatalogTest, ATagIsAddedOrTakenFromAnother) {
  ImageRow a = Row('a'), b = Row('b');
  a.tags = {"r/x:1"};
  ASSERT_TRUE(catalog_->PutImage(a).ok());
  ASSERT_TRUE(catalog_->PutImage(b).ok());
  ASSERT_TRUE(catalog_->AddTag(a.id, "r/x:2").ok());
  ASSERT_TRUE(catalog_->AddTag(a.id, "r/x:2").ok());
  EXPECT_THAT(catalog_->FindById(a.id.str())->tags, ElementsAre("r/x:1", "r/x:2"));
  ASSERT_TRUE(catalog_->AddTag(b.id, "r/x:1").ok());
  Reopen();
  EXPECT_EQ(catalog_->FindByRef("r/x:1")->id, b.id);
  EXPECT_THAT(catalog_->FindById(a.id.str())->tags, ElementsAre("r/x:2"));
  EXPECT_TRUE(absl::IsNotFound(catalog_->AddTag(ImageId(Digest('c')), "r/x:2")));
  EXPECT_EQ(catalog_->FindByRef("r/x:2")->id, a.id);
}

TEST_F(CatalogTest, PuttingAgainAddsReferencesAndReplacesTheRest) {
  ImageRow row = Row('a');
  row.tags = {"r/x:1"};
  ASSERT_TRUE(catalog_->PutImage(row).ok());
  row.tags = {"r/x:2"};
  row.layers = {Digest('4')};
  row.size = 5;
  ASSERT_TRUE(catalog_->PutImage(row).ok());
  auto found = catalog_->FindById(row.id.str());
  EXPECT_THAT(found->tags, ElementsAre("r/x:1", "r/x:2"));
  EXPECT_THAT(found->layers, ElementsAre(Digest('4')));
  EXPECT_EQ(found->size, 5u);
  ASSERT_TRUE(catalog_->SetPinned(row.id, true).ok());
  EXPECT_TRUE(catalog_->FindByRef("r/x:1")->pinned);
  EXPECT_TRUE(absl::IsNotFound(catalog_->SetPinned(ImageId(Digest('0')), true)));
}

TEST_F(CatalogTest, ShortIdsMustBeUnambiguous) {
  ImageRow one = Row('a'), two = Row('b');
  two.id = ImageId("sha256:" + std::string(20, 'a') + std::string(44, 'c'));
  ASSERT_TRUE(catalog_->PutImage(one).ok());
  ASSERT_TRUE(catalog_->PutImage(two).ok());
  EXPECT_EQ(catalog_->FindById(std::string(20, 'a')).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(catalog_->FindById(std::string(21, 'a'))->id, one.id);
  EXPECT_EQ(catalog_->FindById("sha256:" + std::string(20, 'a') + "c")->id, two.id);
  for (const char* none : {"", "a", "aaa", "*", "%", "????", "sha256:", "bbbb", "AAAA", "aaaa'--"}) {
    EXPECT_TRUE(absl::IsNotFound(catalog_->FindById(none).status())) << none;
  }
}

TEST_F(CatalogTest, RemovalTakesAllReferencesAndIsIdempotent) {
  ImageRow row = Row('a');
  row.tags = {"r/x:1", "r/y:1"};
  ASSERT_TRUE(catalog_->PutImage(row).ok());
  ASSERT_TRUE(catalog_->RemoveImage(row.id).ok());
  ASSERT_TRUE(catalog_->RemoveImage(row.id).ok());
  EXPECT_TRUE(absl::IsNotFound(catalog_->FindByRef("r/y:1").status()));
  EXPECT_THAT(*catalog_->LayersInUse(), IsEmpty());
  EXPECT_THAT(*catalog_->DocumentsInUse(), IsEmpty());
}

TEST_F(CatalogTest, WhatWasPulledAgainIsNotRemovedAsOfBefore) {
  ImageRow before = Row('a'), again = before;
  again.pulled_at += absl::Microseconds(1);
  ASSERT_TRUE(catalog_->PutImage(before).ok());
  before = *catalog_->FindById(before.id.str());
  ASSERT_TRUE(catalog_->PutImage(again).ok());
  EXPECT_FALSE(*catalog_->RemoveImageAsOf(before));
  EXPECT_TRUE(catalog_->FindById(again.id.str()).ok());
  EXPECT_TRUE(*catalog_->RemoveImageAsOf(again));
  EXPECT_TRUE(absl::IsNotFound(catalog_->FindById(again.id.str()).status()));
  EXPECT_THAT(*catalog_->LayersInUse(), IsEmpty());
}

TEST_F(CatalogTest, LayersOfAnImage) {
  ImageRow row = Row('a');
  ASSERT_TRUE(catalog_->PutImage(row).ok());
  EXPECT_EQ(*catalog_->LayersOf(row.id), row.layers);
  EXPECT_TRUE(absl::IsNotFound(catalog_->LayersOf(Row('b').id).status()));
}

TEST_F(CatalogTest, MalformedRowsAreRefusedWhole) {
  for (auto spoil : {+[](ImageRow& r) { r.id = ImageId("sha256:short"); }, +[](ImageRow& r) { r.manifest_digest = ""; },
                     +[](ImageRow& r) { r.layers.push_back("../x"); }, +[](ImageRow& r) { r.config = "{"; }}) {
    ImageRow row = Row('a');
    row.tags = {"r/x:1"};
    spoil(row);
    EXPECT_EQ(catalog_->PutImage(row).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_THAT(Ids(), IsEmpty());
}

TEST_F(CatalogTest, ADamagedRowIsReportedAndTheOthersLive) {
  ImageRow bad = Row('b');
  bad.layers = {Digest('5'), Digest('6')};
  bad.tags = {"r/bad:1"};
  ASSERT_TRUE(catalog_->PutImage(Row('a')).ok());
  ASSERT_TRUE(catalog_->PutImage(bad).ok());
  ASSERT_TRUE(catalog_->PutImage(Row('c')).ok());
  Sql("UPDATE images SET config = '{' WHERE id LIKE 'sha256:c%';"
      "DELETE FROM image_layers WHERE position = 0 AND image LIKE 'sha256:b%'");
  Reopen();
  EXPECT_THAT(Ids(), ElementsAre(Digest('a')));
  EXPECT_THAT(Ids(), ElementsAre(Digest('a')));
  EXPECT_THAT(catalog_->Problems(), SizeIs(2));
  EXPECT_TRUE(absl::IsDataLoss(catalog_->FindByRef("r/bad:1").status()));
  // What a damaged image still names must not be collected.
  EXPECT_THAT(*catalog_->LayersInUse(), ElementsAre(Digest('1'), Digest('2'), Digest('6')));
  // Pulling it again repairs it; removing it removes it.
  ASSERT_TRUE(catalog_->PutImage(bad).ok());
  EXPECT_TRUE(catalog_->FindByRef("r/bad:1").ok());
  ASSERT_TRUE(catalog_->RemoveImage(ImageId(Digest('c'))).ok());
  EXPECT_THAT(Ids(), ElementsAre(Digest('a'), Digest('b')));
}

TEST_F(CatalogTest, AFileThatIsNoDatabaseIsSetAside) {
  ASSERT_TRUE(catalog_->PutImage(Row('a')).ok());
  catalog_.reset();
  std::ofstream(Path(), std::ios::trunc) << std::string(8192, 'x');
  Reopen();
  EXPECT_THAT(catalog_->Problems(), ElementsAre(HasSubstr("set aside")));
  EXPECT_THAT(Ids(), IsEmpty());
  int aside = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
    aside += entry.path().filename().string().find("images.db.damaged-") == 0;
  }
  EXPECT_EQ(aside, 1);
  EXPECT_TRUE(catalog_->PutImage(Row('a')).ok());
}

TEST_F(CatalogTest, ADamagedPageIsNoticedAtOpen) {
  for (int i = 0; i < 200; ++i) {
    ImageRow row = Row('a');
    row.id = ImageId("sha256:" + std::string(60, 'a') + std::to_string(1000 + i));
    ASSERT_TRUE(catalog_->PutImage(row).ok());
  }
  catalog_.reset();
  {
    std::fstream file(Path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 * 3);
    file << std::string(4096 * 4, '\x5a');
  }
  Reopen();
  EXPECT_THAT(catalog_->Problems(), SizeIs(1));
  EXPECT_THAT(Ids(), IsEmpty());
}

TEST_F(CatalogTest, ANewerDatabaseIsRefusedAndLeftAlone) {
  ASSERT_TRUE(catalog_->PutImage(Row('a')).ok());
  catalog_.reset();
  Sql("PRAGMA user_version=99");
  EXPECT_EQ(Catalog::Open(Path()).status().code(), absl::StatusCode::kFailedPrecondition);
  Sql("PRAGMA user_version=1");
  Reopen();
  EXPECT_THAT(Ids(), SizeIs(1));
}

TEST_F(CatalogTest, ADirectoryThatIsMissingIsAnErrorAndNotDamage) {
  auto opened = Catalog::Open(dir_ + "/none/images.db");
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kInternal);
}

TEST_F(CatalogTest, ThreadsMayUseItTogether) {
  std::vector<std::thread> threads;
  for (char c : {'a', 'b', 'c', 'd'}) {
    threads.emplace_back([this, c] {
      for (int i = 0; i < 20; ++i) {
        ImageRow row = Row(c);
        row.tags = {"r/shared:1"};
        EXPECT_TRUE(catalog_->PutImage(row).ok());
        EXPECT_TRUE(catalog_->FindByRef("r/shared:1").ok());
        EXPECT_TRUE(catalog_->ListImages().ok());
      }
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_THAT(Ids(), SizeIs(4));
}

}  // namespace
}  // namespace berth::image
