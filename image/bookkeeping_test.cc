// Tags, prune, usage and recovery of the store, with images from servers on loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "image/content/digest.h"
#include "image/pull/testing_image.h"
#include "image/pull/testing_server.h"
#include "image/store.h"
#include "image/unpack/tree_usage.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using testing_image::MakeImage;
using testing_image::TestImage;
using testing_server::FaultServer;
using testing_server::Serving;

namespace fs = std::filesystem;

// Two images that share their first layer.
const TestImage& First() {
  static const auto* image = new TestImage(
      MakeImage({{{"etc/base", testing_image::Noise(200'000, 1)}}, {{"bin/a", testing_image::Noise(50'000, 2)}}}));
  return *image;
}
const TestImage& Second() {
  static const auto* image = new TestImage(
      MakeImage({{{"etc/base", testing_image::Noise(200'000, 1)}}, {{"bin/b", testing_image::Noise(90'000, 3)}}}));
  return *image;
}

class BookkeepingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "layers are unpacked with their owners: needs root";
    dir_ = absl::StrCat(::testing::TempDir(), "berth-book-", getpid(), "-", RandomHexId().substr(0, 8));
    ASSERT_TRUE(sys::MakeDirs(dir_, 0700).ok());
    Reopen();
  }
  void TearDown() override {
    store_.reset();
    if (!dir_.empty()) sys::RemoveTreeAt(AT_FDCWD, dir_).IgnoreError();
  }

  void Reopen(std::vector<std::string> pinned = {}) {
    store_.reset();
    healed_.clear();
    auto store = Store::Open({.root = dir_ + "/store",
                              .hosts_dirs = {dir_ + "/certs.d"},
                              .pinned = std::move(pinned),
                              .usage_interval = absl::Milliseconds(5),
                              .pulled =
                                  [this](const PullSummary& summary) {
                                    absl::MutexLock lock(&mu_);
                                    pulls_.push_back(summary);
                                  },
                              .healed = [this](absl::string_view what) { healed_.emplace_back(what); }});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  std::string NameOf(const FaultServer& server, absl::string_view tag = "1") {
    return absl::StrCat(server.host(), "/app:", tag);
  }
  ImageId Pull(const FaultServer& server, absl::string_view tag = "1") {
    auto image = store_->Pull({.reference = NameOf(server, tag)});
    EXPECT_TRUE(image.ok()) << image.status();
    return image.ok() ? image->id : ImageId();
  }
  std::vector<std::string> Ids() {
    std::vector<std::string> ids;
    const std::vector<Image> images = *store_->List();
    for (const Image& image : images) ids.push_back(image.id.str());
    return ids;
  }
  size_t FilesIn(const std::string& sub) {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(dir_ + "/store/" + sub)) ++count;
    return count;
  }
  TreeUsage Walk(const std::string& sub) {
    auto fd = sys::Open(dir_ + "/store/" + sub, O_RDONLY | O_DIRECTORY);
    EXPECT_TRUE(fd.ok()) << fd.status();
    auto usage = MeasureTree(fd->get());
    EXPECT_TRUE(usage.ok()) << usage.status();
    return *usage;
  }
  // Until the condition holds.
  template <typename Condition>
  bool Eventually(Condition condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return false;
  }

  std::string dir_;
  FaultServer first_{Serving(First())}, second_{Serving(Second())};
  std::unique_ptr<Store> store_;
  std::vector<std::string> healed_;
  absl::Mutex mu_;
  std::vector<PullSummary> pulls_;
};

TEST_F(BookkeepingTest, ATagIsAddedAndMoves) {
  const ImageId a = Pull(first_), b = Pull(second_);
  auto name = store_->Tag(NameOf(first_), "web:2");
  ASSERT_TRUE(name.ok()) << name.status();
  EXPECT_EQ(*name, "docker.io/library/web:2");
  EXPECT_EQ(store_->Find("web:2")->id, a);
  EXPECT_THAT(store_->Find("web:2")->repo_tags, UnorderedElementsAre(*name, NameOf(first_)));
  ASSERT_TRUE(store_->Tag(b.str().substr(7, 12), "web:2").ok());
  EXPECT_EQ(store_->Find("web:2")->id, b);
  EXPECT_THAT(store_->Find(a.str())->repo_tags, ElementsAre(NameOf(first_)));
  // The last tag of an image may go: it stays, by its digest.
  ASSERT_TRUE(store_->Tag(b.str(), NameOf(first_)).ok());
  Reopen();
  EXPECT_EQ(store_->Find(NameOf(first_))->id, b);
  EXPECT_THAT(store_->Find(a.str())->repo_tags, IsEmpty());

  EXPECT_TRUE(absl::IsNotFound(store_->Tag("nothing:1", "web:3").status()));
  for (const std::string& bad :
       {std::string("Web:1"), std::string(""), std::string("web:"), "web@" + First().manifest_digest}) {
    absl::Status status = store_->Tag(a.str(), bad).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("name: "));
  }
}

TEST_F(BookkeepingTest, PinsFollowTags) {
  Reopen({"docker.io/library/web:2"});
  Pull(first_);
  Pull(second_);
  EXPECT_FALSE(store_->Find(NameOf(first_))->pinned);
  ASSERT_TRUE(store_->Tag(NameOf(first_), "web:2").ok());
  EXPECT_TRUE(store_->Find(NameOf(first_))->pinned);
  ASSERT_TRUE(store_->Tag(NameOf(second_), "web:2").ok());
  EXPECT_FALSE(store_->Find(NameOf(first_))->pinned);
  EXPECT_TRUE(store_->Find(NameOf(second_))->pinned);
}

TEST_F(BookkeepingTest, PruneTakesWhatNobodyUses) {
  const ImageId a = Pull(first_);
  Pull(second_);
  const ContainerId container(RandomHexId());
  ASSERT_TRUE(store_->CreateSnapshot(container, a, {}).ok());
  auto plan = store_->Prune({.dry_run = true});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(store_->List()->size(), 2u);
  const DiskUsage before = store_->Usage();
  auto done = store_->Prune({});
  ASSERT_TRUE(done.ok()) << done.status();
  ASSERT_EQ(done->images.size(), 1u);
  EXPECT_EQ(done->images[0].id.str(), Second().config_digest);
  EXPECT_THAT(done->images[0].repo_tags, ElementsAre(NameOf(second_)));
  EXPECT_EQ(done->bytes, plan->bytes);
  EXPECT_GE(done->bytes, 90'000u);
  EXPECT_LT(done->bytes, 190'000u);  // not the layer that is shared
  EXPECT_THAT(Ids(), ElementsAre(a.str()));
  EXPECT_EQ(FilesIn("layers"), 2u);
  EXPECT_GE(before.bytes - store_->Usage().bytes, done->bytes);
  ASSERT_TRUE(store_->RemoveSnapshot(container).ok());
  ASSERT_TRUE(store_->Prune({}).ok());
  EXPECT_THAT(Ids(), IsEmpty());
  EXPECT_EQ(FilesIn("layers"), 0u);
  EXPECT_EQ(FilesIn("content"), 0u);
}

TEST_F(BookkeepingTest, PruneSparesPinnedImagesAndVolumes) {
  Reopen({NameOf(first_)});
  const ImageId a = Pull(first_), b = Pull(second_);
  ASSERT_TRUE(store_->CreateSnapshot(ContainerId(RandomHexId()), a, std::vector<ImageId>{b}).ok());
  EXPECT_THAT(store_->Prune({})->images, IsEmpty());
  EXPECT_EQ(store_->List()->size(), 2u);
}

TEST_F(BookkeepingTest, PruneOfUntaggedImages) {
  const ImageId a = Pull(first_), b = Pull(second_);
  EXPECT_THAT(store_->Prune({.untagged_only = true})->images, IsEmpty());
  ASSERT_TRUE(store_->Tag(b.str(), NameOf(first_)).ok());
  auto done = store_->Prune({.untagged_only = true});
  ASSERT_EQ(done->images.size(), 1u);
  EXPECT_EQ(done->images[0].id, a);
  EXPECT_THAT(Ids(), ElementsAre(b.str()));
}

TEST_F(BookkeepingTest, TheReportTellsSharedFromOwn) {
  const ImageId a = Pull(first_), b = Pull(second_);
  const ContainerId container(RandomHexId());
  ASSERT_TRUE(store_->CreateSnapshot(container, a, {}).ok());
  auto report = store_->Report();
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->layers.size(), 3u);
  ASSERT_EQ(report->images.size(), 2u);
  std::map<std::string, UsageReport::Layer> layers;
  uint64_t sum = 0;
  for (const auto& layer : report->layers) {
    layers[layer.diff_id] = layer;
    sum += layer.bytes;
  }
  const auto& shared = layers[First().diff_ids[0]];
  EXPECT_EQ(shared.images, 2u);
  EXPECT_EQ(layers[First().diff_ids[1]].images, 1u);
  const auto& of_a = report->images[0];
  EXPECT_EQ(of_a.image.id, a);
  EXPECT_EQ(of_a.containers, 1u);
  EXPECT_EQ(of_a.own_bytes, layers[First().diff_ids[1]].bytes);
  EXPECT_EQ(of_a.bytes, of_a.own_bytes + shared.bytes);
  EXPECT_EQ(report->images[1].image.id, b);
  EXPECT_EQ(report->images[1].containers, 0u);
  EXPECT_EQ(report->reclaimable_bytes, report->images[1].own_bytes);
  EXPECT_EQ(sum + report->content_bytes, store_->Usage().bytes);
  EXPECT_GT(report->free_bytes, 0u);
  ASSERT_EQ(report->snapshots.size(), 1u);
  EXPECT_EQ(report->snapshots[0].id, container);
}

TEST_F(BookkeepingTest, UsageIsWhatIsOnDisk) {
  EXPECT_EQ(store_->Usage().bytes, 0u);
  Pull(first_);
  Pull(second_);
  const DiskUsage usage = store_->Usage();
  const uint64_t on_disk = Walk("layers").bytes + Walk("content").bytes;
  // Directories and records of layers are of some blocks.
  EXPECT_LE(usage.bytes, on_disk);
  EXPECT_LE(on_disk - usage.bytes, 16u * 4096);
  Reopen();
  EXPECT_EQ(store_->Usage().bytes, usage.bytes);
  EXPECT_EQ(store_->Usage().inodes, usage.inodes);
  ASSERT_TRUE(store_->Remove(NameOf(first_)).ok());
  ASSERT_TRUE(store_->Remove(NameOf(second_)).ok());
  EXPECT_EQ(store_->Usage().bytes, 0u);
  EXPECT_EQ(store_->Usage().inodes, 0u);
}

TEST_F(BookkeepingTest, AskingForUsageReadsNoDirectory) {
  const ImageId a = Pull(first_);
  const ContainerId container(RandomHexId());
  ASSERT_TRUE(store_->CreateSnapshot(container, a, {}).ok());
  const DiskUsage usage = store_->Usage(), snapshots = store_->SnapshotsUsage();
  // Whoever looks finds nothing.
  fs::rename(dir_ + "/store", dir_ + "/away");
  EXPECT_EQ(store_->Usage().bytes, usage.bytes);
  EXPECT_EQ(store_->SnapshotsUsage().bytes, snapshots.bytes);
  EXPECT_TRUE(store_->SnapshotUsage(container).ok());
  fs::rename(dir_ + "/away", dir_ + "/store");
}

TEST_F(BookkeepingTest, WritableLayersAreMeasuredInTheBackground) {
  const ImageId a = Pull(first_);
  const ContainerId container(RandomHexId());
  ASSERT_TRUE(store_->CreateSnapshot(container, a, {}).ok());
  const auto empty = store_->SnapshotUsage(container);
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ(empty->inodes, 1u);
  EXPECT_LT(absl::Now() - empty->at, absl::Minutes(1));
  {
    std::ofstream file(dir_ + "/store/snapshots/" + container.str() + "/upper/new");
    file << testing_image::Noise(1 << 20, 9);
  }
  sync();  // the file system may allot blocks late
  EXPECT_TRUE(Eventually([&] { return store_->SnapshotUsage(container)->bytes >= empty->bytes + (1 << 20); }));
  const DiskUsage total = store_->SnapshotsUsage();
  EXPECT_EQ(total.inodes, 2u);
  EXPECT_GT(total.at, empty->at);
  ASSERT_TRUE(store_->RemoveSnapshot(container).ok());
  EXPECT_EQ(store_->SnapshotsUsage().bytes, 0u);
  EXPECT_TRUE(absl::IsNotFound(store_->SnapshotUsage(container).status()));
}

TEST_F(BookkeepingTest, EachPullIsSummedUp) {
  Pull(first_);
  Pull(second_);
  ASSERT_EQ(pulls_.size(), 2u);
  EXPECT_EQ(pulls_[0].reference, NameOf(first_));
  EXPECT_EQ(pulls_[0].layers_fetched, 2);
  EXPECT_EQ(pulls_[0].layers_there, 0);
  EXPECT_GE(pulls_[0].bytes, 250'000u);
  EXPECT_EQ(pulls_[1].id.str(), Second().config_digest);
  EXPECT_EQ(pulls_[1].layers_fetched, 1);
  EXPECT_EQ(pulls_[1].layers_there, 1);
  EXPECT_LT(pulls_[1].bytes, 150'000u);
}

TEST_F(BookkeepingTest, AnImageThatLostALayerIsDroppedAndPulledAgain) {
  Pull(first_);
  Pull(second_);
  store_.reset();
  fs::remove_all(absl::StrCat(dir_, "/store/layers/", DigestHex(First().diff_ids[1])));
  Reopen();
  EXPECT_THAT(Ids(), ElementsAre(Second().config_digest));
  EXPECT_THAT(healed_, ElementsAre(HasSubstr(absl::StrCat("image ", First().config_digest, " (", NameOf(first_),
                                                          ") is dropped, to be pulled again: layer ",
                                                          First().diff_ids[1], " is not there"))));
  Pull(first_);
  EXPECT_EQ(store_->List()->size(), 2u);
  Reopen();
  EXPECT_THAT(healed_, IsEmpty());
}

TEST_F(BookkeepingTest, ALayerWithADamagedRecordIsReplaced) {
  Pull(first_);
  store_.reset();
  const std::string layer = absl::StrCat(dir_, "/store/layers/", DigestHex(First().diff_ids[0]));
  for (const auto& entry : fs::directory_iterator(layer)) {
    if (entry.path().extension() == ".json") std::ofstream(entry.path()) << "{";
  }
  Reopen();
  EXPECT_THAT(Ids(), IsEmpty());
  EXPECT_THAT(healed_, Contains(HasSubstr("is left aside")));
  EXPECT_THAT(healed_, Contains(HasSubstr("is dropped, to be pulled again")));
  Pull(first_);
  EXPECT_EQ(store_->List()->size(), 1u);
}

TEST_F(BookkeepingTest, ADamagedDocumentIsRemovedAndTheImageStays) {
  Pull(first_);
  store_.reset();
  std::ofstream(absl::StrCat(dir_, "/store/content/", DigestHex(First().manifest_digest))) << "evil";
  Reopen();
  EXPECT_THAT(healed_, ElementsAre(HasSubstr(absl::StrCat("document ", First().manifest_digest, " is removed"))));
  EXPECT_EQ(store_->List()->size(), 1u);
  EXPECT_EQ(FilesIn("content"), 1u);
  // The next pull brings it back.
  Pull(first_);
  EXPECT_EQ(FilesIn("content"), 2u);
}

TEST_F(BookkeepingTest, ACatalogueThatIsNoDatabaseIsSetAside) {
  Pull(first_);
  store_.reset();
  std::ofstream(dir_ + "/store/images.db") << std::string(4096, 'x');
  Reopen();
  EXPECT_THAT(healed_, Contains(HasSubstr("set aside")));
  EXPECT_THAT(Ids(), IsEmpty());
  EXPECT_EQ(FilesIn("layers"), 0u);
  Pull(first_);
}

// Pulls, containers, prunes and removals at once: what a container stands on is there as long as it is.
TEST_F(BookkeepingTest, NothingInUseIsLost) {
  std::atomic<bool> stop{false};
  std::atomic<int> lost{0}, made{0};
  std::thread pruner([&] {
    while (!stop) store_->Prune({}).status().IgnoreError();
  });
  std::thread remover([&] {
    while (!stop) {
      store_->Remove(NameOf(second_)).IgnoreError();
      absl::SleepFor(absl::Milliseconds(3));
    }
  });
  std::vector<std::thread> users;
  for (const FaultServer* server : {&first_, &second_, &first_}) {
    users.emplace_back([&, server] {
      while (made < 30) {
        auto image = store_->Pull({.reference = NameOf(*server)});
        if (server == &second_ && absl::IsNotFound(image.status())) continue;  // removed in that moment
        if (!image.ok()) {
          ++lost;
          ADD_FAILURE() << image.status();
          return;
        }
        const ContainerId id(RandomHexId());
        absl::Status created = store_->CreateSnapshot(id, image->id, {});
        if (absl::IsNotFound(created)) continue;  // pruned in between: a pull again is what a kubelet does
        EXPECT_TRUE(created.ok()) << created;
        ++made;
        for (int i = 0; i < 3; ++i) {
          auto mount = store_->MountSnapshot(id, -1);
          const bool whole = mount.ok() && sys::ReadFileAt(mount->get(), "etc/base", 1 << 20).ok();
          // Only what is removed by name goes while a container uses it.
          const bool listed = server == &second_ || store_->Find(image->id.str()).ok();
          if (!whole || !listed) ++lost;
          EXPECT_TRUE(whole) << mount.status();
          EXPECT_TRUE(listed);
        }
        EXPECT_TRUE(store_->RemoveSnapshot(id).ok());
      }
    });
  }
  for (std::thread& user : users) user.join();
  stop = true;
  pruner.join();
  remover.join();
  EXPECT_EQ(lost, 0);
  ASSERT_TRUE(store_->Prune({}).ok());
  EXPECT_EQ(FilesIn("layers"), 0u);
  EXPECT_EQ(store_->Usage().bytes, 0u);
}

}  // namespace
}  // namespace berth::image
