#include "image/trust/signed_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::image {
namespace {

using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');
const std::string kOther = "sha256:" + std::string(64, 'b');

bool Accepts(const std::string& identity, const std::string& image, const std::string& signed_name) {
  auto parsed = ParseSignedIdentity(*ParseJson(identity), "id");
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  auto reference = ParseReference(image);
  EXPECT_TRUE(reference.ok()) << reference.status();
  return IdentityAccepts(*parsed, *reference, signed_name);
}

TEST(SignedIdentity, MatchRepoDigestOrExact) {
  const std::string id = R"({"type":"matchRepoDigestOrExact"})";
  EXPECT_TRUE(Accepts(id, "r.io/a:1", "r.io/a:1"));
  EXPECT_FALSE(Accepts(id, "r.io/a:1", "r.io/a:2")) << "a signed image must not stand in for another tag";
  EXPECT_FALSE(Accepts(id, "r.io/a:latest", "r.io/a")) << "a name without a tag is not the tag latest";
  EXPECT_TRUE(Accepts(id, "r.io/a@" + kDigest, "r.io/a:2"));
  EXPECT_TRUE(Accepts(id, "r.io/a@" + kDigest, "r.io/a@" + kOther)) << "the digest is checked elsewhere";
  EXPECT_FALSE(Accepts(id, "r.io/a@" + kDigest, "r.io/a"));
  EXPECT_FALSE(Accepts(id, "r.io/a@" + kDigest, "r.io/b:2"));
  EXPECT_TRUE(Accepts(id, "busybox:1", "docker.io/library/busybox:1"));
}

TEST(SignedIdentity, MatchExact) {
  const std::string id = R"({"type":"matchExact"})";
  EXPECT_TRUE(Accepts(id, "r.io/a:1", "r.io/a:1"));
  EXPECT_FALSE(Accepts(id, "r.io/a@" + kDigest, "r.io/a:1"));
  EXPECT_TRUE(Accepts(id, "r.io/a@" + kDigest, "r.io/a@" + kDigest));
  EXPECT_FALSE(Accepts(id, "r.io/a:latest", "r.io/a"));
  EXPECT_FALSE(Accepts(id, "r.io/a@" + kDigest, "r.io/a:1@" + kDigest));
}

TEST(SignedIdentity, MatchRepository) {
  const std::string id = R"({"type":"matchRepository"})";
  EXPECT_TRUE(Accepts(id, "r.io/a:1", "r.io/a:2"));
  EXPECT_TRUE(Accepts(id, "r.io/a:1", "r.io/a"));
  EXPECT_FALSE(Accepts(id, "r.io/a:1", "r.io/a/b:1"));
  EXPECT_FALSE(Accepts(id, "r.io:5000/a:1", "r.io/a:1"));
}

TEST(SignedIdentity, ExactReferenceAndRepository) {
  const std::string reference = R"({"type":"exactReference","dockerReference":"up.io/x:3"})";
  EXPECT_TRUE(Accepts(reference, "r.io/a:1", "up.io/x:3"));
  EXPECT_FALSE(Accepts(reference, "up.io/x:4", "up.io/x:4"));
  const std::string repository = R"({"type":"exactRepository","dockerRepository":"up.io/x"})";
  EXPECT_TRUE(Accepts(repository, "r.io/a:1", "up.io/x:9"));
  EXPECT_TRUE(Accepts(repository, "r.io/a:1", "up.io/x"));
  EXPECT_FALSE(Accepts(repository, "r.io/a:1", "r.io/a:1"));
}

TEST(SignedIdentity, RemapIdentity) {
  const std::string id = R"({"type":"remapIdentity","prefix":"mirror:5000/vendor","signedPrefix":"vendor.io"})";
  EXPECT_TRUE(Accepts(id, "mirror:5000/vendor/p/img:1", "vendor.io/p/img:1"));
  EXPECT_FALSE(Accepts(id, "mirror:5000/vendor/p/img:1", "mirror:5000/vendor/p/img:1"));
  EXPECT_FALSE(Accepts(id, "mirror:5000/vendor/p/img:1", "vendor.io/p/img:2"));
  EXPECT_TRUE(Accepts(id, "mirror:5000/vendor/p/img@" + kDigest, "vendor.io/p/img:7"));
  EXPECT_TRUE(Accepts(id, "mirror:5000/vendors/img:1", "mirror:5000/vendors/img:1")) << "the prefix ends at a slash";
  const std::string one = R"({"type":"remapIdentity","prefix":"m.io/a","signedPrefix":"v.io/b"})";
  EXPECT_TRUE(Accepts(one, "m.io/a:1", "v.io/b:1"));
}

TEST(SignedIdentity, MalformedNamesAreForNothing) {
  for (const char* name : {"", "UPPER/case:1", "r.io/a:", "r.io/a@sha256:0", "r.io//a:1", "r.io/a:1 "}) {
    EXPECT_FALSE(Accepts(R"({"type":"matchRepository"})", "r.io/a:1", name)) << name;
  }
}

TEST(SignedIdentity, MalformedDocumentsNameTheField) {
  struct {
    const char* json;
    const char* message;
  } cases[] = {
      {"5", "id: expected an object"},
      {"{}", "id.type: is missing"},
      {R"({"type":"matchSome"})", "id.type: unknown type 'matchSome'"},
      {R"({"type":"matchExact","x":1})", "id: unknown field 'x'"},
      {R"({"type":"exactReference"})", "id.dockerReference: is missing"},
      {R"({"type":"exactReference","dockerReference":"r.io/a"})", "id.dockerReference: 'r.io/a' has no tag"},
      {R"({"type":"exactReference","dockerReference":"r.io/A:1"})", "id.dockerReference: image reference"},
      {R"({"type":"exactRepository","dockerRepository":"r.io/a:1"})", "id.dockerRepository: 'r.io/a:1' has a tag"},
      {R"({"type":"remapIdentity","prefix":"r.io"})", "id.signedPrefix: is missing"},
      {R"({"type":"remapIdentity","prefix":"busybox","signedPrefix":"r.io"})", "id.prefix: 'busybox'"},
      {R"({"type":"remapIdentity","prefix":"r.io/a:1","signedPrefix":"r.io"})", "id.prefix: 'r.io/a:1'"},
      {R"({"type":"remapIdentity","prefix":"r.io/","signedPrefix":"r.io"})", "id.prefix: 'r.io/'"}};
  for (const auto& c : cases) {
    auto parsed = ParseSignedIdentity(*ParseJson(c.json), "id");
    ASSERT_TRUE(absl::IsInvalidArgument(parsed.status())) << c.json << ": " << parsed.status();
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace berth::image
