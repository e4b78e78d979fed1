#include "image/pull/artifact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/content/digest.h"
#include "image/pull/image_config.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kOci[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kFile[] = "application/octet-stream";
constexpr char kTar[] = "application/vnd.oci.image.layer.v1.tar+gzip";

struct Part {
  std::string title;
  std::string content = "content";
  const char* type = kFile;
};

Json ManifestJson(const std::vector<Part>& parts) {
  Json json{
      {"schemaVersion", 2},
      {"mediaType", kOci},
      {"artifactType", "application/vnd.example.model"},
      {"config", {{"mediaType", "application/vnd.oci.empty.v1+json"}, {"digest", Sha256Digest("{}")}, {"size", 2}}},
      {"layers", Json::array()}};
  for (const Part& part : parts) {
    Json layer{{"mediaType", part.type}, {"digest", Sha256Digest(part.content)}, {"size", part.content.size()}};
    if (!part.title.empty()) layer["annotations"] = {{"org.opencontainers.image.title", part.title}};
    json["layers"].push_back(layer);
  }
  return json;
}

Manifest Parse(const Json& json) {
  auto parsed = ParseManifest(DumpJson(json), kOci);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? std::get<Manifest>(*std::move(parsed)) : Manifest();
}

std::vector<std::string> Files(const std::vector<Part>& parts) {
  auto layers = ArtifactLayers(Parse(ManifestJson(parts)));
  EXPECT_TRUE(layers.ok()) << layers.status();
  std::vector<std::string> out;
  if (!layers.ok()) return out;
  for (const WantedLayer& layer : *layers) out.push_back(layer.file);
  return out;
}

std::string WhyNot(const std::vector<Part>& parts) {
  auto layers = ArtifactLayers(Parse(ManifestJson(parts)));
  if (layers.ok()) return "it was accepted";
  EXPECT_TRUE(absl::IsInvalidArgument(layers.status())) << layers.status();
  return std::string(layers.status().message());
}

TEST(Artifact, ItsTypeIsThatOfTheManifestOrOfTheConfig) {
  Json json = ManifestJson({{"f"}});
  EXPECT_EQ(Parse(json).artifact_type, "application/vnd.example.model");
  json.erase("artifactType");
  EXPECT_EQ(Parse(json).artifact_type, "application/vnd.oci.empty.v1+json");
  json["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json";
  EXPECT_EQ(Parse(json).artifact_type, "application/vnd.cncf.helm.config.v1+json");
  json["config"]["mediaType"] = "";
  EXPECT_THAT(std::string(ParseManifest(DumpJson(json), kOci).status().message()), HasSubstr("it has no type"));
}

TEST(Artifact, AnImageWithATypeIsAnImage) {
  Json json = ManifestJson({{"", "layer", kTar}});
  json["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json";
  EXPECT_EQ(Parse(json).artifact_type, "");
}

TEST(Artifact, NamesOfFiles) {
  const std::string hex = Sha256Digest("content").substr(7);
  EXPECT_THAT(Files({{"model.bin"}, {"dir/deep/x y", "b"}, {".hidden", "c"}, {"données", "d"}}),
              ElementsAre("model.bin", "dir/deep/x y", ".hidden", "données"));
  EXPECT_THAT(Files({{""}}), ElementsAre(hex));
  EXPECT_THAT(Files({{"title of an archive", "tar", kTar}, {"f"}}), ElementsAre("", "f"));
  EXPECT_THAT(Files({{"f"}, {"f"}, {"g"}}), ElementsAre("f", "g")) << "one blob under two names is two files";
}

TEST(Artifact, HostileTitles) {
  for (const std::string title : {"..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", "."}) {
    EXPECT_THAT(WhyNot({{title}}), HasSubstr("is not a relative path without '..'")) << title;
  }
  EXPECT_THAT(WhyNot({{"a\nb"}}), HasSubstr("control characters"));
  EXPECT_THAT(WhyNot({{std::string("a\0b", 3)}}), HasSubstr("control characters"));
  EXPECT_THAT(WhyNot({{".wh.other"}}), HasSubstr("removal"));
  EXPECT_THAT(WhyNot({{"a/.wh..wh..opq"}}), HasSubstr("removal"));
  EXPECT_THAT(WhyNot({{std::string(256, 'n')}}), HasSubstr("longer than 255 bytes"));
  std::string deep = "d";
  while (deep.size() <= 1024) deep += "/d";
  EXPECT_THAT(WhyNot({{deep}}), HasSubstr("longer than 1024 bytes"));
}

TEST(Artifact, FilesInEachOthersWay) {
  EXPECT_THAT(WhyNot({{"f", "one"}, {"f", "two"}}), HasSubstr("'f' is that of two layers"));
  EXPECT_THAT(WhyNot({{"a/b", "one"}, {"a", "two"}}), HasSubstr("'a/b' lies beneath another layer's file"));
  EXPECT_THAT(Files({{"a/b", "one"}, {"a/c", "two"}, {"ab", "three"}}), ElementsAre("a/b", "a/c", "ab"));
}

TEST(Artifact, TooManyLayersForAMount) {
  std::vector<Part> parts;
  for (int i = 0; i < 401; ++i) parts.push_back({absl::StrCat("f", i)});
  EXPECT_THAT(WhyNot(parts), HasSubstr("401 layers, more than 400"));
}

TEST(Artifact, ItsConfigIsReadAsOne) {
  const std::vector<std::string> diff_ids = {Sha256Digest("1"), Sha256Digest("2")};
  auto config = ParseImageConfig(ArtifactConfig(Parse(ManifestJson({{"f"}})), diff_ids));
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->diff_ids, diff_ids);
  EXPECT_EQ(config->config.artifact_type, "application/vnd.example.model");
}

}  // namespace
}  // namespace berth::image
