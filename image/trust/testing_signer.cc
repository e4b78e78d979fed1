#include "image/trust/testing_signer.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstdlib>

#include "runtime/base/json.h"

namespace berth::image::testing_signer {
namespace {

void Demand(bool good) {
  if (!good) abort();
}

}  // namespace

Signer Signer::Make(const std::string& type, const std::string& detail) {
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, type.c_str(), nullptr);
  Demand(context && EVP_PKEY_keygen_init(context) == 1);
  if (type == "EC") Demand(EVP_PKEY_CTX_set_group_name(context, detail.c_str()) == 1);
  if (type == "RSA") Demand(EVP_PKEY_CTX_set_rsa_keygen_bits(context, std::stoi(detail)) == 1);
  EVP_PKEY* key = nullptr;
  Demand(EVP_PKEY_generate(context, &key) == 1);
  EVP_PKEY_CTX_free(context);
  Signer out;
  out.key_.reset(key, EVP_PKEY_free);
  return out;
}

std::string Signer::PublicPem() const {
  BIO* bio = BIO_new(BIO_s_mem());
  Demand(PEM_write_bio_PUBKEY(bio, key_.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  return out;
}

std::string Signer::Sign(absl::string_view message, const char* hash_name) const {
  const EVP_MD* hash = EVP_PKEY_get_base_id(key_.get()) == EVP_PKEY_ED25519 ? nullptr : EVP_get_digestbyname(hash_name);
  const auto* bytes = reinterpret_cast<const unsigned char*>(message.data());
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  Demand(EVP_DigestSignInit(context, nullptr, hash, nullptr, key_.get()) == 1);
  size_t size = 0;
  Demand(EVP_DigestSign(context, nullptr, &size, bytes, message.size()) == 1);
  std::string out(size, '\0');
  Demand(EVP_DigestSign(context, reinterpret_cast<unsigned char*>(out.data()), &size, bytes, message.size()) == 1);
  out.resize(size);
  EVP_MD_CTX_free(context);
  return out;
}

std::string Payload(absl::string_view manifest_digest, absl::string_view name) {
  return DumpJson(Json{{"critical",
                        {{"type", "cosign container image signature"},
                         {"image", {{"docker-manifest-digest", std::string(manifest_digest)}}},
                         {"identity", {{"docker-reference", std::string(name)}}}}},
                       {"optional", nullptr}});
}

}  // namespace berth::image::testing_signer
