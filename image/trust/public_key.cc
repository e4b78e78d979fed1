#include "image/trust/public_key.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <string>
#include <vector>

namespace berth::image {
namespace {

constexpr int kLeastRsaBits = 2048;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

const unsigned char* Bytes(absl::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string CurveOf(const EVP_PKEY* key) {
  char group[64] = "";
  EVP_PKEY_get_group_name(key, group, sizeof group, nullptr);
  return group;
}

// What the message may have been hashed with. Ed25519 (null) does that itself. For the larger curves tools went over
// from SHA-256 to the hash of the curve's own strength.
std::vector<const EVP_MD*> HashesOf(const EVP_PKEY* key) {
  if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) return {nullptr};
  std::vector<const EVP_MD*> out = {EVP_sha256()};
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return out;
  if (CurveOf(key) == "secp384r1") out.push_back(EVP_sha384());
  if (CurveOf(key) == "secp521r1") out.push_back(EVP_sha512());
  return out;
}

absl::Status CheckAlgorithm(const EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519:
      return absl::OkStatus();
    case EVP_PKEY_RSA:
      if (EVP_PKEY_get_bits(key) >= kLeastRsaBits) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat("an RSA key of ", EVP_PKEY_get_bits(key), " bits, less than ", kLeastRsaBits));
    case EVP_PKEY_EC: {
      const std::string name = CurveOf(key);
      if (name == "prime256v1" || name == "secp384r1" || name == "secp521r1") return absl::OkStatus();
      return absl::InvalidArgumentError(absl::StrCat("an ECDSA key on the curve '", name, "'"));
    }
    default:
      return absl::InvalidArgumentError("neither an ECDSA nor an Ed25519 nor an RSA key");
  }
}

}  // namespace

void PublicKey::Free::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

absl::StatusOr<PublicKey> PublicKey::FromPem(absl::string_view pem) {
  std::unique_ptr<BIO, FreeBio> bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  PublicKey out;
  out.key_.reset(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  ERR_clear_error();
  if (!out.key_) return absl::InvalidArgumentError("not a public key in PEM (BEGIN PUBLIC KEY)");
  RETURN_IF_ERROR(CheckAlgorithm(out.key_.get()), "not a key that is used for images");
  return out;
}

bool PublicKey::Verifies(absl::string_view message, absl::string_view signature) const {
  bool good = false;
  for (const EVP_MD* hash : HashesOf(key_.get())) {
    std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
    good = good ||
           (context && EVP_DigestVerifyInit(context.get(), nullptr, hash, nullptr, key_.get()) == 1 &&
            EVP_DigestVerify(context.get(), Bytes(signature), signature.size(), Bytes(message), message.size()) == 1);
  }
  ERR_clear_error();  // of a wrong signature: the next user of OpenSSL in this thread must not find it
  return good;
}

}  // namespace berth::image
