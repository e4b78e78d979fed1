#include "image/trust/public_key.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/trust/testing_signer.h"

namespace berth::image {
namespace {

using ::testing::HasSubstr;
using testing_signer::Signer;

struct Algorithm {
  const char* type;
  const char* detail;
};

class EachAlgorithm : public ::testing::TestWithParam<Algorithm> {};

TEST_P(EachAlgorithm, VerifiesItsOwnSignaturesOnly) {
  const Signer signer = Signer::Make(GetParam().type, GetParam().detail);
  const Signer other = Signer::Make(GetParam().type, GetParam().detail);
  auto key = PublicKey::FromPem(signer.PublicPem());
  ASSERT_TRUE(key.ok()) << key.status();
  std::string signature = signer.Sign("message");
  EXPECT_TRUE(key->Verifies("message", signature));
  EXPECT_FALSE(key->Verifies("massage", signature));
  EXPECT_FALSE(key->Verifies("", signature));
  EXPECT_FALSE(key->Verifies("message", other.Sign("message")));
  EXPECT_FALSE(key->Verifies("message", ""));
  EXPECT_FALSE(key->Verifies("message", "no signature at all"));
  EXPECT_FALSE(key->Verifies("message", signature + "x")) << "what is behind it was not signed";
  signature[signature.size() / 2] ^= 1;
  EXPECT_FALSE(key->Verifies("message", signature));
}

INSTANTIATE_TEST_SUITE_P(All, EachAlgorithm,
                         ::testing::Values(Algorithm{"EC", "P-256"}, Algorithm{"EC", "P-384"}, Algorithm{"EC", "P-521"},
                                           Algorithm{"ED25519", ""}, Algorithm{"RSA", "2048"}));

TEST(PublicKey, LargerCurvesHaveTwoHashes) {
  struct {
    const char* curve;
    const char* hash;
    bool good;
  } cases[] = {{"P-256", "SHA384", false}, {"P-384", "SHA384", true}, {"P-384", "SHA512", false},
               {"P-521", "SHA512", true},  {"P-521", "SHA1", false},  {"P-256", "SHA1", false}};
  for (const auto& c : cases) {
    const Signer signer = Signer::Make("EC", c.curve);
    auto key = PublicKey::FromPem(signer.PublicPem());
    ASSERT_TRUE(key.ok()) << key.status();
    EXPECT_EQ(key->Verifies("message", signer.Sign("message", c.hash)), c.good) << c.curve << " " << c.hash;
  }
}

std::string WhyNot(const std::string& pem) {
  auto key = PublicKey::FromPem(pem);
  if (key.ok()) return "it was accepted";
  EXPECT_TRUE(absl::IsInvalidArgument(key.status())) << key.status();
  return std::string(key.status().message());
}

TEST(PublicKey, WeakOnesAndOthersAreRefused) {
  EXPECT_THAT(WhyNot(Signer::Make("RSA", "1024").PublicPem()), HasSubstr("1024 bits"));
  EXPECT_THAT(WhyNot(Signer::Make("EC", "secp224r1").PublicPem()), HasSubstr("secp224r1"));
  EXPECT_THAT(WhyNot(Signer::Make("X25519").PublicPem()), HasSubstr("neither"));
  EXPECT_THAT(WhyNot(""), HasSubstr("not a public key"));
  EXPECT_THAT(WhyNot("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), HasSubstr("not a public key"));
  EXPECT_THAT(WhyNot("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), HasSubstr("not a public key"));
}

}  // namespace
}  // namespace berth::image
