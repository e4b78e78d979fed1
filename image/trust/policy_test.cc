#include "image/trust/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

Policy Parse(const std::string& text) {
  auto policy = ParsePolicy(text);
  EXPECT_TRUE(policy.ok()) << policy.status();
  return policy.ok() ? *std::move(policy) : Policy();
}

std::string PlaceFor(const Policy& policy, const std::string& image) {
  return RequirementsFor(policy, *ParseReference(image)).front().where;
}

TEST(Policy, TheMostSpecificScopeCounts) {
  std::string scopes;
  for (std::string scope : {std::string("host.example.com:5000/ns/repo:1"), "host.example.com:5000/ns/repo@" + kDigest,
                            std::string("host.example.com:5000/ns/repo"), std::string("host.example.com:5000/ns"),
                            std::string("host.example.com:5000"), std::string("*.example.com"), std::string("*.com"),
                            std::string("docker.io/library"), std::string("DOCKER.io/x"), std::string("plain.org")}) {
    absl::StrAppend(&scopes, scopes.empty() ? "" : ",", "\"", scope, R"(":[{"type":"reject"}])");
  }
  const Policy policy = Parse(R"({"default":[{"type":"reject"}],"transports":{"docker":{)" + scopes + "}}}");
  struct {
    std::string image, scope;
  } cases[] = {{"host.example.com:5000/ns/repo:1", "host.example.com:5000/ns/repo:1"},
               {"host.example.com:5000/ns/repo@" + kDigest, "host.example.com:5000/ns/repo@" + kDigest},
               {"host.example.com:5000/ns/repo:2", "host.example.com:5000/ns/repo"},
               {"host.example.com:5000/ns/repo/sub:1", "host.example.com:5000/ns/repo"},
               {"host.example.com:5000/ns/repository:1", "host.example.com:5000/ns"},
               {"host.example.com:5000/nsx/repo:1", "host.example.com:5000"},
               {"host.example.com/ns/repo:1", "*.example.com"},
               {"HOST.Example.com:5000/ns/repo:1", "host.example.com:5000/ns/repo:1"},
               {"deep.host.example.com:1/x:1", "*.example.com"},
               {"other.com/x:1", "*.com"},
               {"busybox", "docker.io/library"},
               {"docker.io/x/y:1", "DOCKER.io/x"},
               {"plain.org:5000/x:1", ""},
               {"quay.io/x:1", ""}};
  for (const auto& c : cases) {
    std::string want = c.scope.empty() ? "default[0]" : absl::StrCat("transports.docker[\"", c.scope, "\"][0]");
    EXPECT_EQ(PlaceFor(policy, c.image), want) << c.image;
  }
}

TEST(Policy, ATransportHasADefaultOfItsOwn) {
  const Policy policy = Parse(
      R"({"default":[{"type":"reject"}],"transports":{"docker":{"":[{"type":"insecureAcceptAnything"}]},"dir":{"":[{"type":"reject"}]}}})");
  EXPECT_EQ(PlaceFor(policy, "quay.io/x:1"), "transports.docker[\"\"][0]");
}

TEST(Policy, SigstoreSigned) {
  const Policy policy = Parse(R"({"default":[
    {"type":"sigstoreSigned","keyPath":"/a"},
    {"type":"sigstoreSigned","keyPaths":["/a","/b"],"signedIdentity":{"type":"matchRepository"}},
    {"type":"sigstoreSigned","keyData":"S0VZ"},
    {"type":"sigstoreSigned","keyDatas":["S0VZ","S0VZMg=="]}]})");
  ASSERT_EQ(policy.fallback.size(), 4u);
  EXPECT_THAT(policy.fallback[0].key_paths, ElementsAre("/a"));
  EXPECT_EQ(policy.fallback[0].identity.kind, SignedIdentity::Kind::kRepoDigestOrExact);
  EXPECT_THAT(policy.fallback[1].key_paths, ElementsAre("/a", "/b"));
  EXPECT_EQ(policy.fallback[1].identity.kind, SignedIdentity::Kind::kRepository);
  EXPECT_THAT(policy.fallback[2].keys, ElementsAre("KEY"));
  EXPECT_THAT(policy.fallback[3].keys, ElementsAre("KEY", "KEY2"));
}

TEST(Policy, WhatCannotBeCheckedIsKnownAndNamed) {
  const Policy policy = Parse(R"({"default":[
    {"type":"signedBy","keyType":"GPGKeys","keyPath":"/k","signedIdentity":{"type":"matchExact"}},
    {"type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r"},
    {"type":"sigstoreSigned","fulcio":{"caPath":"/c","oidcIssuer":"i","subjectEmail":"e"},"rekorPublicKeyData":"eA=="},
    {"type":"sigstoreSigned","pki":{"caRootsPath":"/c","subjectEmail":"e"}}]})");
  std::vector<std::string> types;
  for (const Requirement& requirement : policy.fallback) {
    EXPECT_EQ(requirement.kind, Requirement::Kind::kUnsupported);
    types.push_back(requirement.type);
  }
  EXPECT_THAT(types, ElementsAre("signedBy", "sigstoreSigned with rekorPublicKeyPath", "sigstoreSigned with fulcio",
                                 "sigstoreSigned with pki"));
}

TEST(Policy, MalformedOnesNameThePlace) {
  auto with = [](const std::string& requirement) { return R"({"default":[{"type":"reject"},)" + requirement + "]}"; };
  auto scoped = [](const std::string& scopes) {
    return R"({"default":[{"type":"reject"}],"transports":{"docker":)" + scopes + "}}";
  };
  struct {
    std::string text, message;
  } cases[] = {
      {"", "invalid JSON"},
      {"[]", "policy: expected an object"},
      {"{}", "default: is missing"},
      {R"({"default":[]})", "default: expected a list of requirements that is not empty"},
      {R"({"default":[{"type":"reject"}],"other":1})", "policy: unknown field 'other'"},
      {R"({"default":[{"type":"reject"}],"default":[{"type":"insecureAcceptAnything"}]})", "'default' stands twice"},
      {R"({"default":[{"type":"reject"}],"transports":[]})", "transports: expected an object"},
      {with("7"), "default[1]: expected an object"},
      {with("{}"), "default[1].type: is missing"},
      {with(R"({"type":"allow"})"), "default[1].type: unknown type 'allow'"},
      {with(R"({"type":"reject","keyPath":"/a"})"), "default[1]: unknown field 'keyPath'"},
      {with(R"({"type":"signedBy","keyring":"/a"})"), "default[1]: unknown field 'keyring'"},
      {with(R"({"type":"sigstoreSigned"})"), "default[1]: exactly one of keyPath"},
      {with(R"({"type":"sigstoreSigned","keyPath":"/a","keyData":"eA=="})"), "default[1]: exactly one of keyPath"},
      {with(R"({"type":"sigstoreSigned","keyPath":"a"})"), "default[1].keyPath: expected an absolute path"},
      {with(R"({"type":"sigstoreSigned","keyPaths":[]})"), "default[1].keyPaths: expected a list"},
      {with(R"({"type":"sigstoreSigned","keyPaths":["/a",1]})"), "default[1].keyPaths[1]: expected an absolute path"},
      {with(R"({"type":"sigstoreSigned","keyData":"?"})"), "default[1].keyData: expected a public key in base64"},
      {with(R"({"type":"sigstoreSigned","keyPath":"/a","keypath":"/b"})"), "default[1]: unknown field 'keypath'"},
      {with(R"({"type":"sigstoreSigned","keyPath":"/a","signedIdentity":{"type":"x"}})"),
       "default[1].signedIdentity.type: unknown type 'x'"},
      {scoped("[]"), "transports.docker: expected an object"},
      {scoped(R"({"r.io":[]})"), "transports.docker[\"r.io\"]: expected a list"},
      {scoped(R"({"r.io":[{"type":"reject"}],"R.io":[{"type":"reject"}]})"), "the scope stands twice"},
      {scoped(R"({"ex*.com":[{"type":"reject"}]})"), "'*' may only stand in '*.DOMAIN'"},
      {scoped(R"({"*.a.com/x":[{"type":"reject"}]})"), "'*' may only stand in '*.DOMAIN'"},
      {scoped(R"({"*.":[{"type":"reject"}]})"), "'*' may only stand in '*.DOMAIN'"},
      {R"({"default":[{"type":"reject"}],"transports":{"dir":{"/x":[{"type":"y"}]}}})",
       "transports.dir[\"/x\"][0].type: unknown type 'y'"},
  };
  for (const auto& c : cases) {
    auto policy = ParsePolicy(c.text);
    ASSERT_TRUE(absl::IsInvalidArgument(policy.status())) << c.text << ": " << policy.status();
    EXPECT_THAT(std::string(policy.status().message()), HasSubstr(c.message)) << c.text;
  }
}

}  // namespace
}  // namespace berth::image
