#include "image/content/digest.h"

#include <openssl/evp.h>

#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"

namespace berth::image {
namespace {

constexpr absl::string_view kSha256 = "sha256:";
constexpr absl::string_view kSha512 = "sha512:";

bool IsLowerHex(absl::string_view s) {
  for (char c : s) {
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

bool IsDigest(absl::string_view d) {
  return (d.size() == kSha256.size() + 64 && absl::StartsWith(d, kSha256) && IsLowerHex(d.substr(kSha256.size()))) ||
         (d.size() == kSha512.size() + 128 && absl::StartsWith(d, kSha512) && IsLowerHex(d.substr(kSha512.size())));
}

}  // namespace

absl::Status CheckDigest(absl::string_view digest) {
  if (IsDigest(digest)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("'", absl::CEscape(digest.substr(0, 160)), "' is not a sha256 or sha512 digest"));
}

absl::string_view DigestHex(absl::string_view digest) { return digest.substr(kSha256.size()); }

absl::StatusOr<std::string> DigestFromHex(absl::string_view hex) {
  std::string digest = absl::StrCat(hex.size() == 128 ? kSha512 : kSha256, hex);
  RETURN_IF_ERROR(CheckDigest(digest));
  return digest;
}

void Hasher::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Hasher::Hasher(absl::string_view like) : context_(EVP_MD_CTX_new()) {
  bool wide = absl::StartsWith(like, kSha512);
  algorithm_ = std::string(wide ? kSha512 : kSha256);
  // Fails only without memory, or where a FIPS policy forbids the algorithm: nothing can be verified then.
  if (!context_ || EVP_DigestInit_ex(context_.get(), wide ? EVP_sha512() : EVP_sha256(), nullptr) != 1) abort();
}

void Hasher::Update(absl::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }

std::string Hasher::Finish() {
  unsigned char md[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_DigestFinal_ex(context_.get(), md, &size);
  return absl::StrCat(algorithm_, absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(md), size)));
}

std::string Sha256Digest(absl::string_view bytes) {
  Hasher hasher;
  hasher.Update(bytes);
  return hasher.Finish();
}

absl::Status VerifyDigest(absl::string_view digest, absl::string_view bytes) {
  RETURN_IF_ERROR(CheckDigest(digest));
  Hasher hasher(digest);
  hasher.Update(bytes);
  std::string real = hasher.Finish();
  if (real != digest) return absl::DataLossError(absl::StrCat("digest is ", real, ", not ", digest));
  return absl::OkStatus();
}

}  // namespace berth::image
