// Public keys that sign images. Each key fixes its algorithm; a signature cannot choose another one.
#pragma once

#include <memory>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

struct evp_pkey_st;

namespace berth::image {

class PublicKey {
 public:
  // The first PEM block, "BEGIN PUBLIC KEY" (RFC 7468, section 13). InvalidArgument for anything else than ECDSA on
  // P-256, P-384 or P-521, Ed25519, or RSA with at least 2048 bits.
  static absl::StatusOr<PublicKey> FromPem(absl::string_view pem);

  // Whether `signature` is this key's over `message`, by what sigstore makes: ECDSA in DER over SHA-256 or the hash of
  // the curve's strength, RSA PKCS #1 v1.5 over SHA-256, or Ed25519. Thread-safe.
  bool Verifies(absl::string_view message, absl::string_view signature) const;

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  std::unique_ptr<evp_pkey_st, Free> key_;
};

}  // namespace berth::image
