#include "image/pull/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/pull/image_config.h"
#include "image/pull/testing_image.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kOci[] = "application/vnd.oci.image.manifest.v1+json";
const std::string kDigest = "sha256:" + std::string(64, 'a');

Json GoodManifest() { return *ParseJson(testing_image::MakeImage({{{"f", "x"}}}).manifest); }
std::string WhyNot(const Json& json, absl::string_view type = kOci) {
  auto parsed = ParseManifest(DumpJson(json), type);
  if (parsed.ok()) return "it was accepted";
  EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << parsed.status();
  return std::string(parsed.status().message());
}

TEST(Manifest, OciAndDocker) {
  Json json = GoodManifest();
  auto parsed = ParseManifest(DumpJson(json), kOci);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_TRUE(std::holds_alternative<Manifest>(*parsed));
  EXPECT_EQ(std::get<Manifest>(*parsed).layers.size(), 1u);
  json["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json";
  json["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json";
  json["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
  EXPECT_TRUE(ParseManifest(DumpJson(json), json["mediaType"].get<std::string>()).ok());
  json.erase("mediaType");
  EXPECT_TRUE(ParseManifest(DumpJson(json), "text/plain").ok()) << "some registries know no better";
}

TEST(Manifest, OneDigestMustNotHaveTwoMeanings) {
  Json json = GoodManifest();
  json["manifests"] = Json::array();
  EXPECT_THAT(WhyNot(json), HasSubstr("both a manifest and an index"));
  EXPECT_THAT(WhyNot(GoodManifest(), "application/vnd.oci.image.index.v1+json"), HasSubstr("does not suit"));
  EXPECT_THAT(WhyNot(GoodManifest(), "application/vnd.docker.distribution.manifest.v2+json"), HasSubstr("sent as"));
}

TEST(Manifest, UnsupportedKindsAreNamed) {
  EXPECT_THAT(WhyNot(Json{{"schemaVersion", 1}, {"fsLayers", Json::array()}}, ""), HasSubstr("schema 1"));
  EXPECT_THAT(WhyNot(Json{{"schemaVersion", 1}}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
              HasSubstr("schema 1 manifest (application/vnd.docker.distribution.manifest.v1+prettyjws)"));
  Json json = GoodManifest();
  json["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
  EXPECT_THAT(WhyNot(json), HasSubstr("+encrypted', which is not supported"));
}

TEST(Manifest, LayersThatOneMayNotHandOnAreLayers) {
  Json json = GoodManifest();
  for (auto type : {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"}) {
    json["layers"][0]["mediaType"] = type;
    EXPECT_TRUE(ParseManifest(DumpJson(json), kOci).ok()) << type;
  }
}

TEST(Manifest, MalformedOnes) {
  for (auto text : {"", "[]", "{}", "5", "{\"layers\":[]}", "not json"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseManifest(text, kOci).status())) << text;
  }
  Json json = GoodManifest();
  json["layers"] = Json::array();
  EXPECT_THAT(WhyNot(json), HasSubstr("no layers"));
  json = GoodManifest();
  json["layers"][0]["size"] = -1;
  EXPECT_THAT(WhyNot(json), HasSubstr("no size"));
  json["layers"][0]["size"] = "5";
  EXPECT_THAT(WhyNot(json), HasSubstr("size"));
  json = GoodManifest();
  json["layers"][0]["digest"] = "sha256:../../etc/passwd";
  EXPECT_THAT(WhyNot(json), HasSubstr("sha256"));
  json = GoodManifest();
  json["layers"][0] = 5;
  EXPECT_THAT(WhyNot(json), HasSubstr("descriptor"));
  json = GoodManifest();
  json.erase("config");
  EXPECT_THAT(WhyNot(json), HasSubstr("no config"));
}

Index IndexWith(const std::vector<Platform>& platforms) {
  Index index;
  for (size_t i = 0; i < platforms.size(); ++i) {
    index.entries.push_back({{kOci, absl::StrCat("sha256:", i), 1}, platforms[i]});
  }
  return index;
}
std::string Chosen(const std::vector<Platform>& platforms, const Platform& host) {
  auto chosen = ChooseManifest(IndexWith(platforms), host);
  return chosen.ok() ? chosen->digest : chosen.status().ToString();
}

TEST(Platforms, TheBestEntryIsChosen) {
  const Platform amd{"linux", "amd64", ""}, arm64{"linux", "arm64", ""}, arm7{"linux", "arm", "v7"};
  EXPECT_EQ(Chosen({{"windows", "amd64", ""}, {"linux", "arm64", ""}, amd, amd}, amd), "sha256:2");
  EXPECT_EQ(Chosen({{"linux", "arm64", "v8"}}, arm64), "sha256:0");
  EXPECT_EQ(Chosen({{"linux", "amd64", "v3"}, {"linux", "amd64", "v1"}}, amd), "sha256:1");
  EXPECT_EQ(Chosen({{"linux", "arm", "v5"}, {"linux", "arm", "v6"}, {"linux", "arm64", ""}}, arm7), "sha256:1");
  EXPECT_EQ(Chosen({{"linux", "arm", "v5"}, {"linux", "arm", "v7"}}, arm7), "sha256:1");
  EXPECT_EQ(Chosen({{"", "", ""}, amd}, amd), "sha256:1") << "what says its platform goes first";
  EXPECT_EQ(Chosen({{"", "", ""}}, amd), "sha256:0");
}

TEST(Platforms, TheNearestLowerVariantIsChosen) {
  auto host = [](const char* architecture, const char* variant) { return Platform{"linux", architecture, variant}; };
  auto amd = [](const char* variant) { return Platform{"linux", "amd64", variant}; };
  EXPECT_EQ(Chosen({amd("v1"), amd("v2"), amd("v3"), amd("v4")}, host("amd64", "v3")), "sha256:2");
  EXPECT_EQ(Chosen({amd("v1"), amd("v2"), amd("v4")}, host("amd64", "v3")), "sha256:1");
  EXPECT_EQ(Chosen({amd("v4"), amd("v1")}, host("amd64", "v3")), "sha256:1");
  EXPECT_EQ(Chosen({amd(""), amd("v2")}, host("amd64", "v3")), "sha256:1") << "no variant is v1";
  EXPECT_EQ(Chosen({amd("v4"), amd("")}, host("amd64", "v3")), "sha256:1");
  EXPECT_EQ(Chosen({amd("v0"), amd("v10"), amd("x"), amd("v3")}, host("amd64", "v3")), "sha256:3");
  auto arm = [](const char* variant) { return Platform{"linux", "arm", variant}; };
  EXPECT_EQ(Chosen({arm("v5"), arm("v6"), arm("v7")}, host("arm", "v8")), "sha256:2");
  EXPECT_EQ(Chosen({arm("v7"), arm("v5")}, host("arm", "v6")), "sha256:1");
  EXPECT_EQ(Chosen({arm(""), arm("v5")}, host("arm", "v6")), "sha256:1") << "no variant may be v7";
  EXPECT_EQ(Chosen({arm("v6"), arm("")}, host("arm", "v7")), "sha256:1") << "no variant is v7";
  EXPECT_FALSE(Runs(host("arm", "v7"), arm("v4")));
  EXPECT_FALSE(Runs(host("arm64", ""), {"linux", "arm64", "v9"}));
  EXPECT_TRUE(Runs(host("386", ""), {"linux", "386", ""}));
}

TEST(Platforms, OfANode) {
  auto amd = [](absl::string_view flags) {
    return PlatformOf("x86_64", absl::StrCat("flags\t\t: ", flags, "\n")).variant;
  };
  const std::string v2 = "fpu cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3";
  const std::string v3 = v2 + " avx avx2 bmi1 bmi2 f16c fma abm movbe xsave";
  EXPECT_EQ(amd(""), "v1");
  EXPECT_EQ(amd(v2), "v2");
  EXPECT_EQ(amd(v3), "v3");
  EXPECT_EQ(amd(v3 + " avx512f avx512bw avx512cd avx512dq avx512vl"), "v4");
  EXPECT_EQ(amd("fpu avx512f avx512bw avx512cd avx512dq avx512vl"), "v1") << "each level has those below";
  EXPECT_EQ(PlatformOf("x86_64", "").variant, "v1");
  EXPECT_EQ(PlatformOf("armv8l", "").variant, "v8");
  EXPECT_EQ(PlatformOf("armv5tel", "").variant, "v5");
  EXPECT_EQ(PlatformOf("aarch64", "").architecture, "arm64");
  EXPECT_EQ(PlatformOf("riscv64", "").architecture, "riscv64");
}

TEST(Platforms, AttestationsWithoutAPlatformArePassedOver) {
  Json entry{{"mediaType", kOci}, {"digest", kDigest}, {"size", 1}};
  entry["annotations"] = {{"vnd.docker.reference.type", "attestation-manifest"}};
  auto parsed = ParseManifest(DumpJson(Json{{"schemaVersion", 2}, {"manifests", {entry}}}), "");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_TRUE(absl::IsNotFound(ChooseManifest(std::get<Index>(*parsed), HostPlatform()).status()));
}

TEST(Platforms, NoneIsNotFoundAndSaysWhatThereIs) {
  auto none = ChooseManifest(IndexWith({{"unknown", "unknown", ""}, {"linux", "s390x", ""}, {"linux", "amd64", "v4"}}),
                             {"linux", "amd64", ""});
  EXPECT_TRUE(absl::IsNotFound(none.status())) << none.status();
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("linux/amd64/v4, linux/s390x"));
  EXPECT_THAT(std::string(none.status().message()), ::testing::Not(HasSubstr("unknown")));
  EXPECT_TRUE(absl::IsNotFound(ChooseManifest({}, {"linux", "amd64", ""}).status()));
}

TEST(Platforms, IndexOfTheTestImage) {
  auto image = testing_image::MakeImage({{{"f", "x"}}});
  auto parsed = ParseManifest(testing_image::IndexOf(image), "");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  auto chosen = ChooseManifest(std::get<Index>(*parsed), HostPlatform());
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  EXPECT_EQ(chosen->digest, image.manifest_digest);
}

TEST(ImageConfig, AllFields) {
  auto document =
      ParseImageConfig(absl::StrCat(R"({"os":"linux","architecture":"amd64","created":"2020-01-02T03:04:05Z",
    "config":{"User":"1001:0","Env":["A=b"],"Entrypoint":["/e"],"Cmd":null,"WorkingDir":"/w","StopSignal":"SIGINT",
    "Labels":{"l":"v"},"Volumes":{"/data":{}},"ExposedPorts":{"8080/tcp":{}}},
    "rootfs":{"type":"layers","diff_ids":[")",
                                    kDigest, "\"]}}"));
  ASSERT_TRUE(document.ok()) << document.status();
  const ImageConfig& config = document->config;
  EXPECT_EQ(config.user, "1001:0");
  EXPECT_THAT(config.env, ElementsAre("A=b"));
  EXPECT_THAT(config.entrypoint, ElementsAre("/e"));
  EXPECT_THAT(config.cmd, ElementsAre());
  EXPECT_EQ(config.working_dir, "/w");
  EXPECT_EQ(config.stop_signal, "SIGINT");
  EXPECT_EQ(config.labels.at("l"), "v");
  EXPECT_THAT(config.volumes, ElementsAre("/data"));
  EXPECT_THAT(config.exposed_ports, ElementsAre("8080/tcp"));
  EXPECT_EQ(config.created, absl::FromUnixSeconds(1577934245));
  EXPECT_THAT(document->diff_ids, ElementsAre(kDigest));
}

TEST(ImageConfig, MalformedOnesNameTheField) {
  struct {
    std::string text, why;
  } cases[] = {{"[]", "JSON object"},
               {"{}", "rootfs"},
               {R"({"rootfs":{"type":"other","diff_ids":[]}})", "rootfs.type"},
               {R"({"rootfs":{"type":"layers","diff_ids":["x"]}})", "rootfs.diff_ids"},
               {R"({"config":5,"rootfs":{"type":"layers"}})", "'config'"},
               {R"({"config":{"Env":"A"},"rootfs":{"type":"layers"}})", "'Env'"},
               {R"({"config":{"Labels":{"a":1}},"rootfs":{"type":"layers"}})", "label 'a'"},
               {R"({"config":{"Volumes":[]},"rootfs":{"type":"layers"}})", "'Volumes'"}};
  for (const auto& c : cases) {
    auto document = ParseImageConfig(c.text);
    ASSERT_TRUE(absl::IsInvalidArgument(document.status())) << c.text << document.status();
    EXPECT_THAT(std::string(document.status().message()), HasSubstr(c.why));
  }
}

TEST(ImageConfig, MustSuitManifestAndNode) {
  ConfigDocument config{.platform = {"linux", "amd64", ""}, .diff_ids = {kDigest}};
  Manifest manifest{.layers = {{"", kDigest, 1}}};
  const Platform host{"linux", "amd64", ""};
  EXPECT_TRUE(CheckConfig(config, manifest, host).ok());
  config.platform.architecture = "";
  EXPECT_TRUE(CheckConfig(config, manifest, host).ok());
  config.platform.architecture = "s390x";
  EXPECT_TRUE(absl::IsNotFound(CheckConfig(config, manifest, host)));
  manifest.layers.push_back({"", kDigest, 1});
  EXPECT_TRUE(absl::IsInvalidArgument(CheckConfig(config, manifest, host)));
}

}  // namespace
}  // namespace berth::image
