#include "cri/state/seal.h"

#include <zlib.h>

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace berth::state {
namespace {

constexpr absl::string_view kTag = "\xc5\x3e";  // 1000 << 3 | 5, as a varint
constexpr size_t kSealBytes = 6;

std::string SealOf(int kind, absl::string_view id, absl::string_view data) {
  const std::string name = absl::StrCat(kind, " ", id, " ");
  uLong crc = crc32_z(0, reinterpret_cast<const Bytef*>(name.data()), name.size());
  crc = crc32_z(crc, reinterpret_cast<const Bytef*>(data.data()), data.size());
  std::string seal(kTag);
  for (int shift = 0; shift < 32; shift += 8) seal += static_cast<char>(crc >> shift & 0xff);
  return seal;
}

}  // namespace

std::string Seal(int kind, absl::string_view id, absl::string_view data) {
  return absl::StrCat(SealOf(kind, id, data), data);
}

Unsealed Unseal(int kind, absl::string_view id, absl::string_view stored) {
  if (stored.size() >= kSealBytes && stored.substr(0, kSealBytes) == SealOf(kind, id, stored.substr(kSealBytes))) {
    return {std::string(stored.substr(kSealBytes)), true};
  }
  const bool former = absl::StartsWith(stored, absl::StrCat("\x0a", std::string(1, static_cast<char>(id.size())), id));
  return {std::string(stored), former};
}

}  // namespace berth::state
