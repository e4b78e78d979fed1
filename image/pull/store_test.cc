// The store against Debian's docker-registry on loopback.
#include "image/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "image/pull/testing_image.h"
#include "image/pull/testing_server.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using ::testing::UnorderedElementsAre;
using testing_image::MakeImage;
using testing_image::TestImage;
using testing_server::DockerRegistry;

class StoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "layers are unpacked with their owners: needs root";
    dir_ = absl::StrCat(::testing::TempDir(), "berth-store-", getpid(), "-", RandomHexId().substr(0, 8));
    ASSERT_TRUE(sys::MakeDirs(dir_ + "/registry", 0700).ok());
    Reopen();
  }
  void TearDown() override {
    store_.reset();
    registry_.reset();
    if (!dir_.empty()) sys::RemoveTreeAt(AT_FDCWD, dir_).IgnoreError();
  }
  void StartRegistry(const std::string& user = "", const std::string& password = "") {
    auto registry = DockerRegistry::Start(dir_ + "/registry", user, password);
    if (absl::IsUnavailable(registry.status())) GTEST_SKIP() << registry.status().message();
    ASSERT_TRUE(registry.ok()) << registry.status();
    registry_ = *std::move(registry);
  }
  void Reopen(std::vector<std::string> pinned = {}) {
    store_.reset();
    auto store = Store::Open({.root = dir_ + "/store", .hosts_dirs = {dir_ + "/certs.d"}, .pinned = std::move(pinned)});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  std::string Name(absl::string_view rest) { return absl::StrCat(registry_->host(), "/", rest); }
  size_t LayersOnDisk() {
    auto fd = sys::Open(dir_ + "/store/layers", O_RDONLY | O_DIRECTORY);
    size_t count = 0;
    if (!fd.ok()) return 0;
    auto names = sys::ListDir(fd->get());
    if (!names.ok()) return 0;
    for (const std::string& name : *names) count += name.size() == 64;
    return count;
  }

  std::string dir_;
  std::unique_ptr<DockerRegistry> registry_;
  std::unique_ptr<Store> store_;
};

#define START_REGISTRY(...)   \
  StartRegistry(__VA_ARGS__); \
  if (IsSkipped() || HasFatalFailure()) return

const TestImage& Small() {
  static const auto* image = new TestImage(MakeImage({{{"etc/base", "one"}}, {{"bin/true", "two"}}}));
  return *image;
}

TEST_F(StoreTest, PullByTagIsFoundByEveryName) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  auto image = store_->Pull({.reference = Name("app:v1")});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->id.str(), Small().config_digest);
  EXPECT_THAT(image->repo_tags, ElementsAre(Name("app:v1")));
  EXPECT_THAT(image->repo_digests, ElementsAre(Name("app@" + Small().manifest_digest)));
  EXPECT_EQ(image->layers, Small().diff_ids);
  EXPECT_THAT(image->config.env, ElementsAre("WHO=berth"));
  EXPECT_GT(image->size, 0u);
  EXPECT_FALSE(image->pinned);
  std::string hex = image->id.str().substr(7);
  for (const std::string& name : {Name("app:v1"), Name("app@" + Small().manifest_digest), image->id.str(), hex,
                                  hex.substr(0, 12), Name("app:other@" + Small().manifest_digest)}) {
    auto found = store_->Find(name);
    ASSERT_TRUE(found.ok()) << name << ": " << found.status();
    EXPECT_EQ(found->id, image->id);
  }
  for (const std::string& name :
       {Name("app"), Name("app:v2"), std::string("ffffffffffff"), std::string("!!"), std::string("")}) {
    EXPECT_TRUE(absl::IsNotFound(store_->Find(name).status())) << name;
  }
  EXPECT_EQ(store_->List()->size(), 1u);
  EXPECT_GT(store_->Usage().bytes, 0u);
}

TEST_F(StoreTest, PullByDigestHasNoTag) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  auto image = store_->Pull({.reference = Name("app:v1@" + Small().manifest_digest)});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_THAT(image->repo_tags, IsEmpty());
  EXPECT_THAT(image->repo_digests, ElementsAre(Name("app@" + Small().manifest_digest)));
}

TEST_F(StoreTest, IndexLeadsToThisPlatform) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", Small().manifest_digest).ok());
  // The registry would refuse an index whose other entries it has not: this one has one entry.
  std::string index = absl::StrCat(
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":)",
      R"("application/vnd.oci.image.manifest.v1+json","size":)", Small().manifest.size(), R"(,"digest":")",
      Small().manifest_digest, R"("}]})");
  ASSERT_TRUE(registry_->Push(Small(), "app", "multi", index).ok());
  auto image = store_->Pull({.reference = Name("app:multi")});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->id.str(), Small().config_digest);
  EXPECT_THAT(image->repo_digests, ElementsAre(Not(HasSubstr(Small().manifest_digest))));
}

TEST_F(StoreTest, ImageSurvivesReopening) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  Reopen({Name("app:v1")});
  auto found = store_->Find(Name("app:v1"));
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(found->pinned) << "pins follow the configuration";
  Reopen();
  EXPECT_FALSE(store_->Find(Name("app:v1"))->pinned);
}

TEST_F(StoreTest, ImageThatLostALayerIsGoneAfterReopening) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  store_.reset();
  ASSERT_TRUE(sys::RemoveTreeAt(AT_FDCWD, absl::StrCat(dir_, "/store/layers/", Small().diff_ids[0].substr(7))).ok());
  Reopen();
  EXPECT_TRUE(absl::IsNotFound(store_->Find(Name("app:v1")).status()));
  EXPECT_EQ(LayersOnDisk(), 0u) << "its other layer is of no use any more";
  EXPECT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
}

TEST_F(StoreTest, AnImageWhoseLayerTurnsOutDamagedIsPulledAgain) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  const std::string file = absl::StrCat(dir_, "/store/layers/", Small().diff_ids[0].substr(7), "/layer.erofs");
  auto fd = sys::Open(file, O_WRONLY);
  if (!fd.ok()) GTEST_SKIP() << "layers are directories here: " << fd.status();
  ASSERT_EQ(pwrite(fd->get(), "damaged", 7, 1024), 7);
  const ContainerId id("c1");
  const ImageId image(Small().config_digest);
  EXPECT_EQ(store_->CreateSnapshot(id, image, {}).code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(absl::IsNotFound(store_->Find(image.str()).status()));
  EXPECT_TRUE(store_->Snapshots().empty());
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  ASSERT_TRUE(store_->CreateSnapshot(id, image, {}).ok());
  EXPECT_EQ(*sys::ReadFileAt(store_->MountSnapshot(id, -1)->get(), "etc/base"), "one");
  ASSERT_TRUE(store_->RemoveSnapshot(id).ok());
}

TEST_F(StoreTest, DamageThatARunningContainerFindsIsRepairedForTheNext) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  const std::string file = absl::StrCat(dir_, "/store/layers/", Small().diff_ids[0].substr(7), "/layer.erofs");
  auto fd = sys::Open(file, O_WRONLY);
  if (!fd.ok()) GTEST_SKIP() << "layers are directories here: " << fd.status();
  const ContainerId first("c1"), second("c2");
  const ImageId image(Small().config_digest);
  ASSERT_TRUE(store_->CreateSnapshot(first, image, {}).ok());
  ASSERT_EQ(pwrite(fd->get(), "damaged", 7, 1024), 7);
  Reopen();
  EXPECT_EQ(store_->MountSnapshot(first, -1).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_TRUE(store_->Find(image.str()).ok());
  EXPECT_FALSE(store_->CreateSnapshot(second, image, {}).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Find(image.str()).status()));
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  EXPECT_TRUE(store_->CreateSnapshot(second, image, {}).ok());
}

TEST_F(StoreTest, SharedLayersAreFetchedOnceAndKeptUntilTheLastImageGoes) {
  START_REGISTRY();
  TestImage other = MakeImage({{{"etc/base", "one"}}, {{"bin/false", "three"}}});
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  ASSERT_TRUE(registry_->Push(other, "app", "v2").ok());
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  std::vector<LayerProgress> last;
  auto image = store_->Pull({.reference = Name("app:v2"), .progress = [&](const auto& layers) { last = layers; }});
  ASSERT_TRUE(image.ok()) << image.status();
  ASSERT_EQ(last.size(), 2u);
  EXPECT_TRUE(last[0].already_there);
  EXPECT_EQ(last[0].done, 0u);
  EXPECT_FALSE(last[1].already_there);
  EXPECT_EQ(last[1].done, last[1].total);
  EXPECT_TRUE(last[1].unpacked);
  EXPECT_EQ(LayersOnDisk(), 3u);
  ASSERT_TRUE(store_->Remove(Name("app:v1")).ok());
  EXPECT_EQ(LayersOnDisk(), 2u);
  ASSERT_TRUE(store_->Remove(image->id.str()).ok());
  EXPECT_EQ(LayersOnDisk(), 0u);
  EXPECT_THAT(*store_->List(), IsEmpty());
  EXPECT_TRUE(store_->Remove(Name("app:v1")).ok()) << "removing what is not there is fine";
}

TEST_F(StoreTest, RemovalTakesAllReferences) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  ASSERT_TRUE(registry_->Push(Small(), "app", "v2").ok());
  ASSERT_TRUE(store_->Pull({.reference = Name("app:v1")}).ok());
  auto image = store_->Pull({.reference = Name("app:v2")});
  ASSERT_TRUE(image.ok());
  EXPECT_THAT(image->repo_tags, UnorderedElementsAre(Name("app:v1"), Name("app:v2")));
  ASSERT_TRUE(store_->Remove(Name("app:v1")).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Find(Name("app:v2")).status()));
}

TEST_F(StoreTest, LayersOfASnapshotOutliveTheImage) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  auto image = store_->Pull({.reference = Name("app:v1")});
  ASSERT_TRUE(image.ok());
  ContainerId id(RandomHexId());
  ASSERT_TRUE(store_->CreateSnapshot(id, image->id, {}).ok());
  EXPECT_FALSE(store_->CreateSnapshot(id, image->id, {}).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->CreateSnapshot(ContainerId(RandomHexId()), ImageId("sha256:beef0"), {})));
  ASSERT_TRUE(store_->Remove(image->id.str()).ok());
  EXPECT_EQ(LayersOnDisk(), 2u);
  Reopen();
  EXPECT_THAT(store_->Snapshots(), ElementsAre(id));
  {
    auto mount = store_->MountSnapshot(id, -1);
    ASSERT_TRUE(mount.ok()) << mount.status();
    auto text = sys::ReadFileAt(mount->get(), "etc/base");
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, "one");
  }
  EXPECT_TRUE(store_->SnapshotUsage(id).ok());
  EXPECT_GT(store_->SnapshotsUsage().inodes, 0u);
  ASSERT_TRUE(store_->RemoveSnapshot(id).ok());
  EXPECT_EQ(LayersOnDisk(), 0u);
  EXPECT_THAT(store_->Snapshots(), IsEmpty());
}

TEST_F(StoreTest, LayersOfAVolumesImageOutliveIt) {
  START_REGISTRY();
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  auto image = store_->Pull({.reference = Name("app:v1")});
  ASSERT_TRUE(image.ok());
  ContainerId id(RandomHexId()), other(RandomHexId());
  const std::vector<ImageId> volumes = {image->id, image->id};
  ASSERT_TRUE(store_->CreateSnapshot(id, image->id, volumes).ok());
  ASSERT_TRUE(store_->CreateSnapshot(other, image->id, volumes).ok());
  EXPECT_TRUE(absl::IsNotFound(
      store_->CreateSnapshot(ContainerId(RandomHexId()), image->id, std::vector<ImageId>{ImageId("sha256:beef0")})));
  ASSERT_TRUE(store_->Remove(image->id.str()).ok());
  Reopen();
  ASSERT_TRUE(store_->RemoveSnapshot(other).ok());
  EXPECT_EQ(LayersOnDisk(), 2u);
  {
    auto mount = store_->MountImage(id, image->id, "etc", -1);
    ASSERT_TRUE(mount.ok()) << mount.status();
    EXPECT_EQ(*sys::ReadFileAt(mount->get(), "base"), "one");
  }
  ASSERT_TRUE(store_->RemoveSnapshot(id).ok());
  EXPECT_EQ(LayersOnDisk(), 0u);
}

TEST_F(StoreTest, BasicAuthentication) {
  START_REGISTRY("me", "secret-word");
  ASSERT_TRUE(registry_->Push(Small(), "app", "v1").ok());
  absl::Status none = store_->Pull({.reference = Name("app:v1")}).status();
  EXPECT_TRUE(absl::IsUnauthenticated(none)) << none;
  absl::Status wrong =
      store_->Pull({.reference = Name("app:v1"), .credentials = {.username = "me", .password = "wrong-word"}}).status();
  EXPECT_TRUE(absl::IsUnauthenticated(wrong)) << wrong;
  EXPECT_THAT(std::string(wrong.message()), Not(HasSubstr("wrong-word")));
  auto image =
      store_->Pull({.reference = Name("app:v1"), .credentials = {.username = "me", .password = "secret-word"}});
  EXPECT_TRUE(image.ok()) << image.status();
}

TEST_F(StoreTest, UnknownImagesAndRegistries) {
  START_REGISTRY();
  absl::Status missing = store_->Pull({.reference = Name("app:v1")}).status();
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_EQ(std::string(missing.message()),
            absl::StrCat("image \"", Name("app:v1"), "\" not found in registry ", registry_->host()));
  std::string host = registry_->host();
  registry_.reset();
  absl::Status gone = store_->Pull({.reference = host + "/app:v1"}).status();
  EXPECT_TRUE(absl::IsUnavailable(gone)) << gone;
  EXPECT_THAT(std::string(gone.message()), StartsWith("RegistryUnavailable: "));
  absl::Status malformed = store_->Pull({.reference = host + "/App"}).status();
  EXPECT_TRUE(absl::IsInvalidArgument(malformed)) << malformed;
}

TEST_F(StoreTest, PullsOfOneImageAtOnceAreOne) {
  START_REGISTRY();
  TestImage big = MakeImage({{{"data", testing_image::Noise(8 << 20, 1)}}});
  ASSERT_TRUE(registry_->Push(big, "app", "big").ok());
  std::vector<std::thread> threads;
  std::atomic<int> good{0};
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] { good += store_->Pull({.reference = Name("app:big")}).ok(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good.load(), 6);
  EXPECT_EQ(LayersOnDisk(), 1u);
}

}  // namespace
}  // namespace berth::image
