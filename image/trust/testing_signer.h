// Keys and signatures for tests.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

struct evp_pkey_st;

namespace berth::image::testing_signer {

class Signer {
 public:
  // A new key: "EC" with the curve's name as `detail`, "RSA" with the number of bits, or "ED25519".
  static Signer Make(const std::string& type, const std::string& detail = "");
  std::string PublicPem() const;
  // With the hash of that name; Ed25519 has its own.
  std::string Sign(absl::string_view message, const char* hash = "SHA256") const;

 private:
  std::shared_ptr<evp_pkey_st> key_;
};

// What sigstore signs.
std::string Payload(absl::string_view manifest_digest, absl::string_view name);

}  // namespace berth::image::testing_signer
