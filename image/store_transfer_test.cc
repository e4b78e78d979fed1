// Pushes, saves and loads of whole stores, with Debian's docker-registry and one in memory that counts.
#include <fcntl.h>
#include <sys/stat.h>

#include "image/content/digest.h"
#include "image/pull/testing_store.h"
#include "image/push/testing_upload_registry.h"
#include "image/unpack/testing_archive.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using testing_image::Noise;
using testing_server::DockerRegistry;
using testing_store::MakeImage;
using testing_store::Reply;
using testing_store::Request;
using testing_store::TestImage;
using testing_upload_registry::UploadRegistry;

// Two layers, one of them of more than a chunk.
const TestImage& Two() {
  static const auto* image =
      new TestImage(MakeImage({{{"etc/base", "one"}, {"big", Noise(9 << 20, 3)}}, {{"bin/true", "two"}}}));
  return *image;
}

class TransferTest : public testing_store::StoreFixture {
 protected:
  void SetUp() override {
    StoreFixture::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(sys::MakeDirs(dir_ + "/registry", 0700).ok());
    auto registry = DockerRegistry::Start(dir_ + "/registry");
    if (absl::IsUnavailable(registry.status())) GTEST_SKIP() << registry.status().message();
    ASSERT_TRUE(registry.ok()) << registry.status();
    registry_ = *std::move(registry);
    ASSERT_TRUE(registry_->Push(Two(), "app", "v1").ok());
    auto image = store_->Pull({.reference = Name("app:v1")});
    ASSERT_TRUE(image.ok()) << image.status();
  }
  void TearDown() override {
    other_.reset();
    StoreFixture::TearDown();
  }
  // The tests of what needs a layer's archive: a kernel without EROFS keeps none.
  bool ArchivesAreKept() {
    absl::Status saved = Save({Name("app:v1")}).status();
    return !absl::IsFailedPrecondition(saved);
  }
  Store& Other() {
    auto store = Store::Open({.root = dir_ + "/other", .hosts_dirs = {}});
    EXPECT_TRUE(store.ok()) << store.status();
    other_ = *std::move(store);
    return *other_;
  }
  std::string Name(absl::string_view rest) { return absl::StrCat(registry_->host(), "/", rest); }

  absl::StatusOr<std::string> Save(std::vector<std::string> images, ArchiveFormat format = ArchiveFormat::kOci) {
    std::string out;
    RETURN_IF_ERROR(
        store_->Save({.images = std::move(images), .format = format, .output = [&](absl::string_view bytes) {
                        out.append(bytes.data(), bytes.size());
                        return absl::OkStatus();
                      }}));
    return out;
  }
  static absl::StatusOr<std::vector<Image>> Load(Store& store, absl::string_view archive,
                                                 std::function<bool()> cancelled = {}) {
    size_t at = 0;
    return store.Load({.input = [&]() -> absl::StatusOr<absl::string_view> {
                         absl::string_view piece = archive.substr(at, 100'000);
                         at += piece.size();
                         return piece;
                       },
                       .cancelled = std::move(cancelled)});
  }

  std::unique_ptr<DockerRegistry> registry_;
  std::unique_ptr<Store> other_;
};

#define NEEDS_ARCHIVES()                        \
  if (IsSkipped() || HasFatalFailure()) return; \
  if (!ArchivesAreKept()) GTEST_SKIP() << "layers are kept as directories here, without their archives"

TEST_F(TransferTest, WithinARegistryNothingIsSentAndTheManifestStays) {
  for (const std::string& destination : {Name("app:v2"), Name("other/place:v1")}) {
    std::vector<BlobProgress> last;
    auto pushed = store_->Push(
        {.image = Name("app:v1"), .destination = destination, .progress = [&](const auto& blobs) { last = blobs; }});
    ASSERT_TRUE(pushed.ok()) << pushed.status();
    EXPECT_EQ(pushed->digest, Two().manifest_digest);
    EXPECT_EQ(pushed->name, destination);
    ASSERT_EQ(last.size(), 3u);
    EXPECT_TRUE(last[0].already_there && last[1].already_there);
    EXPECT_TRUE(last[0].finished && last[1].finished && last[2].finished);
    auto pulled = Other().Pull({.reference = destination});
    ASSERT_TRUE(pulled.ok()) << pulled.status();
    EXPECT_EQ(pulled->id.str(), Two().config_digest);
  }
}

TEST_F(TransferTest, ToAnotherRegistryOnceAndTheSecondTimeNothing) {
  NEEDS_ARCHIVES();
  for (const char* compression : {"", "zstd"}) {
    UploadRegistry registry;
    std::string destination = registry.host() + "/team/app:v9";
    PushRequest request{.image = Name("app:v1"), .destination = destination, .compression = compression};
    auto first = store_->Push(request);
    ASSERT_TRUE(first.ok()) << first.status();
    std::string manifest = registry.manifests()["team/app:v9"];
    EXPECT_EQ(first->digest, Sha256Digest(manifest));
    Json json = *ParseJson(manifest);
    EXPECT_EQ(json["config"]["digest"], Two().config_digest);
    EXPECT_THAT(json["layers"][0]["mediaType"].get<std::string>(), HasSubstr(*compression ? "+zstd" : "+gzip"));
    EXPECT_EQ(registry.blobs().count(json["layers"][0]["digest"].get<std::string>()), 1u);
    const size_t before = registry.requests().size();
    auto second = store_->Push(request);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(second->digest, first->digest);
    std::vector<std::string> methods = registry.Methods();
    methods.erase(methods.begin(), methods.begin() + static_cast<ptrdiff_t>(before));
    EXPECT_THAT(methods, Not(Contains("POST")));
    EXPECT_THAT(methods, Not(Contains("PATCH")));
  }
}

TEST_F(TransferTest, AnUploadThatIsLostBeginsAnew) {
  NEEDS_ARCHIVES();
  std::atomic<int> patches = 0;
  UploadRegistry* known = nullptr;
  UploadRegistry registry([&](const Request& request, Reply&) {
    if (request.method == "PATCH" && ++patches == 2) known->ForgetUploads();
    return false;
  });
  known = &registry;
  auto pushed = store_->Push({.image = Name("app:v1"), .destination = registry.host() + "/app:v1"});
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(registry.open_uploads(), 0u);
}

TEST_F(TransferTest, PushesThatCannotBe) {
  if (IsSkipped() || HasFatalFailure()) return;
  auto code = [&](PushRequest request) { return store_->Push(std::move(request)).status().code(); };
  std::string image = Name("app:v1"), id = Two().config_digest;
  EXPECT_EQ(code({.image = Name("absent:v1")}), absl::StatusCode::kNotFound);
  EXPECT_EQ(code({.image = id}), absl::StatusCode::kInvalidArgument) << "an id is no destination";
  EXPECT_EQ(code({.image = id.substr(7, 12)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.image = image, .destination = Name("app@" + id)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.image = image, .destination = "UP/&"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.image = image, .compression = "xz"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.image = image, .cancelled = [] { return true; }}), absl::StatusCode::kCancelled);
  registry_.reset();
  absl::Status gone = store_->Push({.image = image}).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("RegistryUnavailable: "));
}

TEST_F(TransferTest, CredentialsAreAskedForAndChecked) {
  if (IsSkipped() || HasFatalFailure()) return;
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/closed", 0700).ok());
  auto closed = DockerRegistry::Start(dir_ + "/closed", "ann", "pass");
  if (absl::IsUnavailable(closed.status())) GTEST_SKIP() << closed.status().message();
  ASSERT_TRUE(closed.ok()) << closed.status();
  PushRequest request{.image = Name("app:v1"), .destination = (*closed)->host() + "/app:v1"};
  EXPECT_TRUE(absl::IsUnauthenticated(store_->Push(request).status()));
  request.credentials = {.username = "ann", .password = "wrong-secret"};
  absl::Status refused = store_->Push(request).status();
  EXPECT_TRUE(absl::IsUnauthenticated(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), Not(HasSubstr("wrong-secret")));
  NEEDS_ARCHIVES();
  request.credentials.password = "pass";
  auto pushed = store_->Push(request);
  EXPECT_TRUE(pushed.ok()) << pushed.status();
  auto pulled = Other().Pull({.reference = request.destination, .credentials = request.credentials});
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(pulled->id.str(), Two().config_digest);
}

TEST_F(TransferTest, WhatIsSavedIsLoaded) {
  NEEDS_ARCHIVES();
  ASSERT_TRUE(store_->Tag(Name("app:v1"), "mine:1").ok());
  for (ArchiveFormat format : {ArchiveFormat::kOci, ArchiveFormat::kDocker}) {
    auto archive = Save({Name("app:v1"), "mine:1", Two().config_digest}, format);
    ASSERT_TRUE(archive.ok()) << archive.status();
    EXPECT_EQ(Sha256Digest(*Save({Name("app:v1"), "mine:1"}, format)), Sha256Digest(*archive)) << "not deterministic";
    Store& other = Other();
    for (const std::string& bytes : {*archive, testing_archive::Gzip(*archive), testing_archive::Zstd(*archive)}) {
      auto images = Load(other, bytes);
      ASSERT_TRUE(images.ok()) << images.status();
      ASSERT_EQ(images->size(), 1u);
      EXPECT_EQ(images->front().id.str(), Two().config_digest);
      EXPECT_EQ(images->front().layers, Two().diff_ids);
      EXPECT_THAT(images->front().repo_tags, ElementsAre(Name("app:v1"), "docker.io/library/mine:1"));
      ASSERT_TRUE(other.Remove(Two().config_digest).ok());
    }
  }
}

TEST_F(TransferTest, WhatWasLoadedCanBePushed) {
  NEEDS_ARCHIVES();
  auto archive = Save({Name("app:v1")}, ArchiveFormat::kDocker);
  ASSERT_TRUE(archive.ok()) << archive.status();
  Store& other = Other();
  ASSERT_TRUE(Load(other, *archive).ok());
  UploadRegistry registry;
  auto pushed = other.Push({.image = Name("app:v1"), .destination = registry.host() + "/app:v1"});
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  Json json = *ParseJson(registry.manifests()["app:v1"]);
  EXPECT_EQ(json["config"]["digest"], Two().config_digest);
}

TEST_F(TransferTest, SaveSaysWhatIsMissingBeforeItWrites) {
  if (IsSkipped() || HasFatalFailure()) return;
  bool written = false;
  auto output = [&](absl::string_view) {
    written = true;
    return absl::OkStatus();
  };
  absl::Status missing = store_->Save({.images = {Name("app:v1"), "absent:1"}, .output = output});
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_THAT(std::string(missing.message()), HasSubstr("absent:1"));
  EXPECT_TRUE(absl::IsInvalidArgument(store_->Save({.output = output})));
  EXPECT_FALSE(written);
}

TEST_F(TransferTest, LayersWithoutTheirArchivesAreRefusedByName) {
  if (IsSkipped() || HasFatalFailure()) return;
  auto store = Store::Open(
      {.root = dir_ + "/dirs", .hosts_dirs = {}, .layers = {.format = LayerStoreOptions::Format::kDirectory}});
  ASSERT_TRUE(store.ok()) << store.status();
  ASSERT_TRUE((*store)->Pull({.reference = Name("app:v1")}).ok());
  UploadRegistry registry;
  absl::Status push = (*store)->Push({.image = Name("app:v1"), .destination = registry.host() + "/app:v1"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(push)) << push;
  EXPECT_EQ(registry.open_uploads(), 0u);
  auto output = [](absl::string_view) { return absl::InternalError("something was written"); };
  EXPECT_TRUE(absl::IsFailedPrecondition((*store)->Save({.images = {Name("app:v1")}, .output = output})));
}

TEST_F(TransferTest, KeptBlobsKeepTheManifest) {
  if (IsSkipped() || HasFatalFailure()) return;
  for (auto format : {LayerStoreOptions::Format::kAuto, LayerStoreOptions::Format::kDirectory}) {
    auto store = Store::Open({.root = absl::StrCat(dir_, "/kept", static_cast<int>(format)),
                              .hosts_dirs = {},
                              .layers = {.format = format, .keep_blobs = true}});
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->Pull({.reference = Name("app:v1")}).ok());
    UploadRegistry registry;
    auto pushed = (*store)->Push({.image = Name("app:v1"), .destination = registry.host() + "/app:v1"});
    ASSERT_TRUE(pushed.ok()) << pushed.status();
    EXPECT_EQ(pushed->digest, Two().manifest_digest);
    EXPECT_EQ(registry.manifests()["app:v1"], Two().manifest);
    for (const std::string& layer : Two().layers) EXPECT_EQ(registry.blobs().count(layer), 1u);
    std::string archive;
    ASSERT_TRUE((*store)
                    ->Save({.images = {Name("app:v1")},
                            .output =
                                [&](absl::string_view bytes) {
                                  archive.append(bytes.data(), bytes.size());
                                  return absl::OkStatus();
                                }})
                    .ok());
    EXPECT_THAT(archive, HasSubstr(Two().manifest));
  }
}

TEST_F(TransferTest, ABadLoadLeavesNothing) {
  NEEDS_ARCHIVES();
  auto archive = Save({Name("app:v1")});
  ASSERT_TRUE(archive.ok()) << archive.status();
  ASSERT_TRUE(store_->Remove(Name("app:v1")).ok());
  ExpectNothingLeft();
  // One byte of a layer's file.
  std::string damaged = *archive;
  size_t at = damaged.find(absl::StrCat("blobs/sha256/", Two().diff_ids[0].substr(7)));
  ASSERT_NE(at, std::string::npos);
  damaged[at + 5000] ^= 1;
  absl::Status status = Load(*store_, damaged).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(Two().diff_ids[0]));
  ExpectNothingLeft();
  EXPECT_TRUE(absl::IsDataLoss(Load(*store_, archive->substr(0, archive->size() / 2)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Load(*store_, "BZh91AY&SY").status()));
  EXPECT_TRUE(absl::IsCancelled(Load(*store_, *archive, [] { return true; }).status()));
  ExpectNothingLeft();
  EXPECT_TRUE(Load(*store_, *archive).ok()) << "and a good one goes well afterwards";
}

}  // namespace
}  // namespace berth::image
