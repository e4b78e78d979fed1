// The check as a whole, over a repository in memory.
#include "image/trust/trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "image/content/digest.h"
#include "image/trust/testing_signer.h"
#include "runtime/base/id.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;
using testing_signer::Payload;
using testing_signer::Signer;

const std::string kIndex = "sha256:" + std::string(64, '1');
const std::string kManifest = "sha256:" + std::string(64, '2');
const std::string kName = "r.io/ns/app:1";

class TrustTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = absl::StrCat(::testing::TempDir(), "berth-trust-", getpid(), "-", RandomHexId().substr(0, 8));
    ASSERT_TRUE(sys::MakeDirs(dir_, 0755).ok());
    options_.policy = dir_ + "/policy.json";
    options_.verifiers_dir = dir_ + "/verifiers";
    std::ofstream(dir_ + "/key.pub") << signer_.PublicPem();
  }
  void TearDown() override { sys::RemoveTreeAt(AT_FDCWD, dir_).IgnoreError(); }

  void SetPolicy(const std::string& text) { std::ofstream(options_.policy) << text; }
  void RequireKey(const std::string& more = "") {
    SetPolicy(R"({"default":[{"type":"reject"}],"transports":{"docker":{"r.io":[{"type":"sigstoreSigned","keyPath":")" +
              dir_ + "/key.pub\"" + more + "}]}}}");
  }
  // Puts one more signature under the tag of `digest`.
  void Attach(const std::string& digest, const std::string& payload, const std::string& signature,
              const std::string& type = "application/vnd.dev.cosign.simplesigning.v1+json") {
    Json& manifest = manifests_[absl::StrCat(absl::StrReplaceAll(digest, {{":", "-"}}), ".sig")];
    manifest["schemaVersion"] = 2;
    blobs_[Sha256Digest(payload)] = payload;
    manifest["layers"].push_back(
        {{"mediaType", type},
         {"digest", Sha256Digest(payload)},
         {"size", payload.size()},
         {"annotations", {{"dev.cosignproject.cosign/signature", absl::Base64Escape(signature)}}}});
  }
  void Sign(const std::string& digest, const std::string& name = kName) {
    const std::string payload = Payload(digest, name);
    Attach(digest, payload, signer_.Sign(payload));
  }
  absl::Status Check(const std::string& reference = kName) {
    TrustSubject subject{*ParseReference(reference), {reference, kIndex, "type", 5}, kManifest};
    RepositoryReader reader{.manifest = [&](const std::string& tag) -> absl::StatusOr<std::string> {
                              RETURN_IF_ERROR(failure_);
                              auto found = manifests_.find(tag);
                              if (found == manifests_.end()) return absl::NotFoundError("no such tag");
                              return DumpJson(found->second);
                            },
                            .blob = [&](const std::string& digest, uint64_t) -> absl::StatusOr<std::string> {
                              ++blobs_fetched_;
                              auto found = blobs_.find(digest);
                              if (found == blobs_.end()) return absl::NotFoundError("no such blob");
                              return found->second;
                            }};
    return CheckTrust(options_, subject, reader);
  }
  std::string Refusal(const std::string& reference = kName) {
    absl::Status status = Check(reference);
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    EXPECT_THAT(std::string(status.message()), StartsWith(absl::StrCat("SignatureValidationFailed: ", reference)));
    return std::string(status.message());
  }

  std::string dir_;
  TrustOptions options_;
  const Signer signer_ = Signer::Make("EC", "P-256");
  std::map<std::string, Json> manifests_;     // by tag
  std::map<std::string, std::string> blobs_;  // by digest
  absl::Status failure_;                      // of the registry
  int blobs_fetched_ = 0;
};

TEST_F(TrustTest, WithoutAPolicyAllIsAccepted) {
  EXPECT_TRUE(Check().ok());
  options_.policy_required = true;
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("policy.json"), HasSubstr("No such file")));
}

TEST_F(TrustTest, AcceptAnythingAndReject) {
  SetPolicy(
      R"({"default":[{"type":"reject"}],"transports":{"docker":{"r.io/ns":[{"type":"insecureAcceptAnything"}]}}})");
  EXPECT_TRUE(Check().ok());
  EXPECT_THAT(Refusal("r.io/other:1"), HasSubstr("policy.json: default[0] (reject): every image is rejected"));
}

TEST_F(TrustTest, AMalformedPolicyRefusesEverything) {
  SetPolicy(R"({"default":[{"type":"insecureAcceptAnything","x":1}]})");
  EXPECT_THAT(Refusal(), HasSubstr("policy.json: default[0]: unknown field 'x'"));
  sys::RemoveTreeAt(AT_FDCWD, options_.policy).IgnoreError();
  ASSERT_TRUE(sys::MakeDirs(options_.policy, 0755).ok());
  EXPECT_THAT(Refusal(), HasSubstr("policy.json")) << "unreadable is not absent";
}

TEST_F(TrustTest, RequirementsThatCannotBeCheckedRefuse) {
  SetPolicy(
      R"({"default":[{"type":"insecureAcceptAnything"},{"type":"signedBy","keyType":"GPGKeys","keyPath":"/k"}]})");
  EXPECT_THAT(Refusal(), HasSubstr("default[1] (signedBy): berth cannot check this requirement"));
}

TEST_F(TrustTest, SignatureOfTheIndexOrOfTheManifest) {
  RequireKey();
  EXPECT_THAT(Refusal(), HasSubstr(absl::StrCat("no signature of ", kIndex, " or ", kManifest)));
  Sign(kManifest);
  EXPECT_TRUE(Check().ok()) << Check();
  manifests_.clear();
  Sign(kIndex);
  EXPECT_TRUE(Check().ok()) << Check();
}

TEST_F(TrustTest, AGoodSignatureAmongBadOnes) {
  RequireKey();
  const Signer other = Signer::Make("EC", "P-256");
  const std::string payload = Payload(kIndex, kName);
  Attach(kIndex, payload, other.Sign(payload));
  EXPECT_THAT(Refusal(), HasSubstr("a signature is not by a key of the policy"));
  Sign(kIndex, "r.io/ns/app:2");
  EXPECT_THAT(Refusal(), HasSubstr("a signature is for the name 'r.io/ns/app:2'"));
  Sign(kIndex);
  blobs_fetched_ = 0;
  EXPECT_TRUE(Check().ok()) << Check();
  EXPECT_EQ(blobs_fetched_, 2) << "two payloads for three signatures";
}

TEST_F(TrustTest, SignatureOfAnotherImage) {
  RequireKey();
  const std::string payload = Payload("sha256:" + std::string(64, '3'), kName);
  Attach(kIndex, payload, signer_.Sign(payload));
  EXPECT_THAT(Refusal(), HasSubstr("a signature is for another image, sha256:333"));
}

TEST_F(TrustTest, ASignatureOfTheManifestIsNotOneOfTheIndex) {
  RequireKey();
  const std::string payload = Payload(kManifest, kName);
  Attach(kIndex, payload, signer_.Sign(payload));
  EXPECT_THAT(Refusal(), HasSubstr("a signature is for another image"));
}

TEST_F(TrustTest, SignedPayloadsAreReadStrictly) {
  RequireKey();
  Json json = *ParseJson(Payload(kIndex, kName));
  auto refuse = [&](const std::string& payload, const std::string& message) {
    manifests_.clear();
    Attach(kIndex, payload, signer_.Sign(payload));
    EXPECT_THAT(Refusal(), HasSubstr("a signed payload is malformed: " + message)) << payload;
  };
  refuse("not JSON", "invalid JSON");
  Json other = json;
  other["critical"]["type"] = "atomic container signature";
  refuse(DumpJson(other), "critical.type: 'atomic container signature'");
  other = json;
  other["critical"]["more"] = 1;
  refuse(DumpJson(other), "critical: unknown field 'more'");
  other = json;
  other["critical"].erase("identity");
  refuse(DumpJson(other), "critical.identity: is missing");
  other = json;
  other["critical"]["image"]["docker-manifest-digest"] = 5;
  refuse(DumpJson(other), "critical.image.docker-manifest-digest: expected a string");
  other = json;
  other.erase("critical");
  refuse(DumpJson(other), "critical: is missing");
  std::string twice = DumpJson(json);
  twice.insert(1, R"("critical":{},)");
  refuse(twice, "the key 'critical' stands twice");
}

TEST_F(TrustTest, MalformedOrHugeSignatureManifests) {
  RequireKey();
  const std::string tag = absl::StrCat("sha256-", kIndex.substr(7), ".sig");
  manifests_[tag] = Json{{"layers", 5}};
  EXPECT_THAT(Refusal(), HasSubstr("not a manifest with layers"));
  manifests_[tag] = Json{{"layers", {5}}};
  EXPECT_THAT(Refusal(), HasSubstr("a layer is not an object"));
  manifests_.clear();
  Attach(kIndex, std::string(kLargestPayload + 1, 'x'), "s");
  EXPECT_THAT(Refusal(), HasSubstr("a payload of 131073 bytes"));
  manifests_.clear();
  for (size_t i = 0; i < kMostSignatures + 1; ++i) Attach(kIndex, "x", "s");
  EXPECT_THAT(Refusal(), HasSubstr("more than 100 signatures"));
  manifests_.clear();
  Attach(kIndex, "x", "s");
  manifests_[tag]["layers"][0]["annotations"].clear();
  EXPECT_THAT(Refusal(), HasSubstr("is not a signature in base64"));
  manifests_[tag]["layers"][0]["annotations"] = "text";
  EXPECT_FALSE(Check().ok());
  manifests_.clear();
  Attach(kIndex, "x", "s", "application/vnd.other");
  EXPECT_THAT(Refusal(), HasSubstr("there is no signature")) << "layers of other kinds are not looked at";
}

TEST_F(TrustTest, TheRegistrysTroublesAreNotTheImages) {
  RequireKey();
  for (const absl::Status& failure :
       {absl::UnavailableError("RegistryUnavailable: down"), absl::PermissionDeniedError("403"),
        absl::UnauthenticatedError("401"), absl::CancelledError("cancelled")}) {
    failure_ = failure;
    EXPECT_EQ(Check(), failure);
  }
}

TEST_F(TrustTest, KeysAreReadForEachPull) {
  Sign(kIndex);
  RequireKey();
  EXPECT_TRUE(Check().ok());
  std::ofstream(dir_ + "/key.pub") << Signer::Make("ED25519").PublicPem();
  EXPECT_THAT(Refusal(), HasSubstr("not by a key of the policy"));
  std::ofstream(dir_ + "/key.pub") << "rubbish";
  EXPECT_THAT(Refusal(), HasSubstr("/key.pub: not a public key"));
  ASSERT_EQ(unlink((dir_ + "/key.pub").c_str()), 0);
  EXPECT_THAT(Refusal(), AllOf(HasSubstr("/key.pub"), HasSubstr("No such file")));
}

TEST_F(TrustTest, VerifiersAreAskedAfterThePolicy) {
  ASSERT_TRUE(sys::MakeDirs(options_.verifiers_dir, 0755).ok());
  const std::string verifier = options_.verifiers_dir + "/judge";
  std::ofstream(verifier) << "#!/bin/sh\necho \"$2 $4\"; exit 1\n";
  ASSERT_EQ(chmod(verifier.c_str(), 0755), 0);
  EXPECT_THAT(Refusal(),
              HasSubstr(absl::StrCat("image verifier judge refused it (exit code 1): ", kName, " ", kIndex)));
  SetPolicy(R"({"default":[{"type":"reject"}]})");
  EXPECT_THAT(Refusal(), HasSubstr("(reject)"));
}

}  // namespace
}  // namespace berth::image
