#include "image/pull/manifest_rewrite.h"

#include <gtest/gtest.h>

#include "image/content/digest.h"
#include "image/pull/manifest.h"
#include "image/pull/testing_image.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

const std::string kA = Sha256Digest("a"), kB = Sha256Digest("b"), kC = Sha256Digest("c");

std::string Docker() {
  return absl::StrCat(R"({"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",)",
                      R"("config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":")", kC,
                      R"(","size":9},"layers":[)",
                      R"({"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":")", kA,
                      R"(","size":1,"annotations":{"keep":"x","containerd.io/snapshot/stargz/toc.digest":"y"}},)",
                      R"({"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","digest":")", kB,
                      R"(","size":2}],"annotations":{"org.example":"z"}})");
}

TEST(ManifestRewriteTest, UnchangedMeansByteForByte) {
  auto same = RewriteManifest(Docker(), {std::nullopt, std::nullopt});
  ASSERT_TRUE(same.ok()) << same.status();
  EXPECT_EQ(same->bytes, Docker());
  EXPECT_EQ(same->media_type, "application/vnd.docker.distribution.manifest.v2+json");
  EXPECT_EQ(same->digest, Sha256Digest(Docker()));
}

TEST(ManifestRewriteTest, AChangedLayerKeepsTheRest) {
  auto changed = RewriteManifest(Docker(), {LayerReplacement{kC, 77, "+gzip"}, std::nullopt});
  ASSERT_TRUE(changed.ok()) << changed.status();
  Json json = *ParseJson(changed->bytes);
  EXPECT_EQ(json["layers"][0], (Json{{"mediaType", "application/vnd.docker.image.rootfs.diff.tar.gzip"},
                                     {"digest", kC},
                                     {"size", 77},
                                     {"annotations", {{"keep", "x"}}}}));
  EXPECT_EQ(json["layers"][1]["digest"], kB);
  EXPECT_EQ(json["annotations"]["org.example"], "z");
  EXPECT_EQ(json["config"]["digest"], kC);
  EXPECT_EQ(json["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
  EXPECT_TRUE(ParseManifest(changed->bytes, changed->media_type).ok());
}

TEST(ManifestRewriteTest, ZstdMakesOciOfDocker) {
  auto changed = RewriteManifest(Docker(), {LayerReplacement{kC, 77, "+zstd"}, std::nullopt});
  ASSERT_TRUE(changed.ok()) << changed.status();
  EXPECT_EQ(changed->media_type, "application/vnd.oci.image.manifest.v1+json");
  Json json = *ParseJson(changed->bytes);
  EXPECT_EQ(json["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
  EXPECT_EQ(json["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
  EXPECT_EQ(json["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
  EXPECT_TRUE(ParseManifest(changed->bytes, changed->media_type).ok());
}

TEST(ManifestRewriteTest, AnotherNumberOfLayersIsAnotherImage) {
  EXPECT_TRUE(absl::IsInvalidArgument(RewriteManifest(Docker(), {std::nullopt}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(RewriteManifest("{}", {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(RewriteManifest("[]", {}).status()));
}

TEST(ManifestRewriteTest, AMadeOneIsAManifest) {
  ManifestBytes made = MakeManifest(kC, 9, {{kA, 1, ""}, {kB, 2, "+gzip"}});
  auto parsed = ParseManifest(made.bytes, made.media_type);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& manifest = std::get<Manifest>(*parsed);
  EXPECT_EQ(manifest.config.digest, kC);
  ASSERT_EQ(manifest.layers.size(), 2u);
  EXPECT_EQ(manifest.layers[0].media_type, "application/vnd.oci.image.layer.v1.tar");
  EXPECT_EQ(manifest.layers[1].digest, kB);
  EXPECT_EQ(made.digest, Sha256Digest(made.bytes));
}

}  // namespace
}  // namespace berth::image
