// Archives that mean harm, or are only broken, and what is said of them.
#include "image/archive/archive.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "image/archive/image_reader.h"
#include "image/content/digest.h"
#include "image/pull/testing_image.h"
#include "image/unpack/testing_archive.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace testing_archive;
using testing_image::MakeImage;
using testing_image::TestImage;

absl::StatusOr<std::unique_ptr<Archive>> Receive(absl::string_view bytes, const UnpackLimits& limits = {}) {
  size_t at = 0;
  auto input = [&]() -> absl::StatusOr<absl::string_view> {
    absl::string_view piece = bytes.substr(std::min(at, bytes.size()), 1000);
    at += piece.size();
    return piece;
  };
  return Archive::Receive(::testing::TempDir(), input, limits);
}

void ExpectRefused(absl::string_view bytes, absl::StatusCode code, absl::string_view part,
                   const UnpackLimits& limits = {}) {
  auto archive = Receive(bytes, limits);
  EXPECT_EQ(archive.status().code(), code) << archive.status();
  EXPECT_THAT(std::string(archive.status().message()), HasSubstr(std::string(part)));
}

TEST(ArchiveTest, MembersAreFoundByCleanNamesAndThroughLinks) {
  std::string tar = Tar({Dir("./d"), File("./d/a", "first"), File("/b", "second"), Symlink("d/link", "../b"),
                         HardLink("hard", "d/a"), Symlink("chain", "d/link"), Symlink("x", "y"), Symlink("y", "x")});
  for (const std::string& bytes : {tar, Gzip(tar), Zstd(tar)}) {
    auto archive = Receive(bytes);
    ASSERT_TRUE(archive.ok()) << archive.status();
    for (auto [name, text] :
         {std::pair("d/a", "first"), {"b", "second"}, {"d/link", "second"}, {"hard", "first"}, {"chain", "second"}}) {
      auto member = (*archive)->Find(name);
      ASSERT_TRUE(member.ok()) << name << ": " << member.status();
      EXPECT_EQ(*(*archive)->Read(*member, 100), text) << name;
    }
    EXPECT_TRUE(absl::IsNotFound((*archive)->Find("d").status()));
    EXPECT_TRUE(absl::IsInvalidArgument((*archive)->Find("x").status()));
    EXPECT_TRUE(absl::IsResourceExhausted((*archive)->Read(*(*archive)->Find("b"), 3).status()));
  }
}

TEST(ArchiveTest, HostileOnesAreRefusedByName) {
  ExpectRefused(Tar({File("a/../../etc/passwd", "x")}), absl::StatusCode::kInvalidArgument, "has '..' in its name");
  ExpectRefused(Tar({File("index.json", "x"), File("./index.json", "y")}), absl::StatusCode::kInvalidArgument,
                "'index.json' is there twice");
  ExpectRefused(Tar({File("a", "x"), Symlink("a", "b")}), absl::StatusCode::kInvalidArgument, "there twice");
  std::string tar = Tar({File("a", std::string(5000, 'x'))});
  ExpectRefused(tar.substr(0, 3000), absl::StatusCode::kDataLoss, "ends in the middle");
  ExpectRefused(Gzip(tar).substr(0, 60), absl::StatusCode::kDataLoss, "truncated");
  ExpectRefused("", absl::StatusCode::kInvalidArgument, "empty");
  ExpectRefused(std::string(4096, 'x'), absl::StatusCode::kInvalidArgument, "checksum");
  ExpectRefused("BZh91AY&SY", absl::StatusCode::kUnimplemented, "bzip2");
  Entry huge = File("a", "x");
  huge.pax["path"] = std::string(5000, 'n');
  ExpectRefused(Tar({huge}), absl::StatusCode::kInvalidArgument, "too long");
}

TEST(ArchiveTest, MembersNamesAndBytesAreBounded) {
  std::string many;
  for (uint64_t i = 0; i <= Archive::kMaxMembers; ++i) many += TarEntryBytes(File(absl::StrCat("f", i)));
  ExpectRefused(Gzip(many), absl::StatusCode::kResourceExhausted, "entries");
  std::string names;
  for (int i = 0; i < 6000; ++i) {
    Entry entry = File("x");
    entry.pax["path"] = absl::StrCat(i, "/", std::string(3000, 'n'));
    names += TarEntryBytes(entry);
  }
  ExpectRefused(Gzip(names), absl::StatusCode::kResourceExhausted, "names are over");
  std::string bomb = Gzip(Tar({File("zeros", std::string(8 << 20, '\0'))}));
  UnpackLimits limits{.max_ratio = 100, .ratio_from = 1 << 20};
  ExpectRefused(bomb, absl::StatusCode::kResourceExhausted, "unpacks to more than", limits);
  ExpectRefused(bomb, absl::StatusCode::kResourceExhausted, "8388608 bytes", {.max_bytes = 1 << 20});
  ExpectRefused(bomb, absl::StatusCode::kResourceExhausted, "MiB are left", {.min_free_bytes = uint64_t{1} << 60});
}

// An OCI layout of `image`; what is in `change` takes the place of members, an empty text removes one.
std::string Layout(const TestImage& image, const std::map<std::string, std::string>& change = {}) {
  std::map<std::string, std::string> members;
  auto blob = [&](const std::string& digest, const std::string& bytes) {
    members[absl::StrCat("blobs/sha256/", digest.substr(7))] = bytes;
  };
  for (const auto& [digest, bytes] : image.blobs) blob(digest, bytes);
  blob(image.manifest_digest, image.manifest);
  Json entry{{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
             {"digest", image.manifest_digest},
             {"size", image.manifest.size()},
             {"annotations", {{"org.opencontainers.image.ref.name", "reg.io/app:v1"}}}};
  members["index.json"] = DumpJson(Json{{"schemaVersion", 2}, {"manifests", {entry}}});
  members["oci-layout"] = R"({"imageLayoutVersion":"1.0.0"})";
  for (const auto& [name, bytes] : change) members[name] = bytes;
  std::vector<Entry> entries;
  for (const auto& [name, bytes] : members) {
    if (!bytes.empty()) entries.push_back(File(name, bytes));
  }
  return Tar(entries);
}

absl::StatusOr<std::vector<ArchivedImage>> Images(const std::string& tar) {
  auto archive = Receive(tar);
  RETURN_IF_ERROR(archive);
  return ReadImages(**archive, HostPlatform());
}

const TestImage& Small() {
  static const auto* image = new TestImage(MakeImage({{{"a", "1"}}, {{"b", "2"}}}));
  return *image;
}

std::string BlobName(const std::string& digest) { return "blobs/sha256/" + digest.substr(7); }

TEST(ImageReaderTest, OciLayoutIsReadWhole) {
  auto images = Images(Layout(Small()));
  ASSERT_TRUE(images.ok()) << images.status();
  ASSERT_EQ(images->size(), 1u);
  const ArchivedImage& image = images->front();
  EXPECT_EQ(image.record.id, Small().config_digest);
  EXPECT_EQ(image.record.manifest_digest, Small().manifest_digest);
  EXPECT_EQ(image.record.manifest_bytes, Small().manifest);
  EXPECT_THAT(image.record.tags, ElementsAre("reg.io/app:v1"));
  ASSERT_EQ(image.layers.size(), 2u);
  EXPECT_EQ(image.layers[1].blob.digest, Small().layers[1]);
  EXPECT_EQ(image.layers[1].blob.diff_id, Small().diff_ids[1]);
}

TEST(ImageReaderTest, WhatDoesNotFitIsNamed) {
  const TestImage& image = Small();
  auto code = [](const absl::StatusOr<std::vector<ArchivedImage>>& images, absl::string_view part) {
    EXPECT_THAT(std::string(images.status().message()), HasSubstr(std::string(part)));
    return images.status().code();
  };
  EXPECT_EQ(code(Images(Layout(image, {{BlobName(image.layers[0]), ""}})), image.layers[0]),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(code(Images(Layout(image, {{BlobName(image.layers[0]), "short"}})), "instead of"),
            absl::StatusCode::kDataLoss);
  std::string other = image.manifest;
  other[other.size() - 2] = ' ';
  EXPECT_EQ(code(Images(Layout(image, {{BlobName(image.manifest_digest), other}})), image.manifest_digest),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(Images(Layout(image, {{"oci-layout", R"({"imageLayoutVersion":"2.0"})"}})), "version '2.0'"),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Images(Layout(image, {{"oci-layout", ""}})), "neither an OCI layout"),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Images(Layout(image, {{"index.json", "{"}})), "index.json"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Images(Layout(image, {{"index.json", image.manifest}})), "not an index"),
            absl::StatusCode::kInvalidArgument);
  Json foreign{{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
               {"digest", image.manifest_digest},
               {"size", 1},
               {"platform", {{"os", "linux"}, {"architecture", "s390"}}}};
  std::string index = DumpJson(Json{{"schemaVersion", 2}, {"manifests", {foreign}}});
  EXPECT_EQ(code(Images(Layout(image, {{"index.json", index}})), "linux/s390"), absl::StatusCode::kNotFound);
}

TEST(ImageReaderTest, AnIndexLeadsToThisPlatform) {
  const TestImage& image = Small();
  std::string nested = testing_image::IndexOf(image), digest = Sha256Digest(nested);
  Json entry{{"mediaType", "application/vnd.oci.image.index.v1+json"},
             {"digest", digest},
             {"size", nested.size()},
             {"annotations", {{"org.opencontainers.image.ref.name", "latest"}}}};
  std::string index = DumpJson(Json{{"schemaVersion", 2}, {"manifests", {entry, entry}}});
  auto images = Images(Layout(image, {{"index.json", index}, {BlobName(digest), nested}}));
  ASSERT_TRUE(images.ok()) << images.status();
  ASSERT_EQ(images->size(), 1u);
  EXPECT_EQ(images->front().record.manifest_digest, image.manifest_digest);
  EXPECT_THAT(images->front().record.tags, IsEmpty()) << "a tag alone is no name";
}

// What docker save of old wrote: a layer that occurs twice is a link to the first.
std::string DockerTar(const TestImage& image, const std::string& config_name, const std::string& second_layer,
                      const std::string& tags = R"(["app:v1"])") {
  std::string first = Tar({File("a", "1")});
  std::string manifest = absl::StrCat(R"([{"Config":")", config_name, R"(","RepoTags":)", tags,
                                      R"(,"Layers":["l1/layer.tar","l2/layer.tar"]}])");
  return Tar({File("l1/layer.tar", first), Symlink("l2/layer.tar", second_layer),
              File("real.tar", Tar({File("b", "2")})), File(config_name, image.blobs.at(image.config_digest)),
              File("manifest.json", manifest)});
}

TEST(ImageReaderTest, DockerArchiveGetsAManifest) {
  const TestImage& image = Small();
  auto images = Images(DockerTar(image, image.config_digest.substr(7) + ".json", "../real.tar"));
  ASSERT_TRUE(images.ok()) << images.status();
  ASSERT_EQ(images->size(), 1u);
  const NewImage& record = images->front().record;
  EXPECT_EQ(record.id, image.config_digest);
  EXPECT_THAT(record.tags, ElementsAre("docker.io/library/app:v1"));
  EXPECT_TRUE(VerifyDigest(record.manifest_digest, record.manifest_bytes).ok());
  EXPECT_EQ(images->front().layers[1].blob.digest, image.diff_ids[1]);
  EXPECT_TRUE(Images(DockerTar(image, "config", "../real.tar", "null")).ok());
}

TEST(ImageReaderTest, OneLargeConfigManyTimesIsTooMuch) {
  const TestImage& image = Small();
  Json config = *ParseJson(image.blobs.at(image.config_digest));
  config["padding"] = std::string(1 << 20, 'x');
  Json entries = Json::array();
  for (int i = 0; i < 65; ++i) {
    entries.push_back({{"Config", "config"}, {"RepoTags", Json::array()}, {"Layers", {"a.tar", "a.tar"}}});
  }
  auto images =
      Images(Tar({File("config", DumpJson(config)), File("a.tar", "x"), File("manifest.json", DumpJson(entries))}));
  EXPECT_TRUE(absl::IsResourceExhausted(images.status())) << images.status();
}

TEST(ImageReaderTest, DockerArchiveThatLies) {
  const TestImage& image = Small();
  std::string name = image.config_digest.substr(7) + ".json";
  EXPECT_TRUE(absl::IsNotFound(Images(DockerTar(image, name, "../absent.tar")).status()));
  EXPECT_TRUE(absl::IsDataLoss(Images(DockerTar(image, std::string(64, 'a') + ".json", "../real.tar")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Images(DockerTar(image, name, "../real.tar", R"(["a/UPPER"])")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Images(Tar({File("manifest.json", "[]")})).status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Images(Tar({File("manifest.json", R"([{"Config":"x"},3])"), File("x")})).status()));
}

}  // namespace
}  // namespace berth::image
