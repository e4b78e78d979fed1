#include "cri/spec/shm_size.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace berth::spec {
namespace {

constexpr uint64_t kDefault = 64 << 20;
constexpr uint64_t kMost = uint64_t{1} << 62;
constexpr std::pair<absl::string_view, uint64_t> kUnits[] = {
    {"Ki", uint64_t{1} << 10},
    {"Mi", uint64_t{1} << 20},
    {"Gi", uint64_t{1} << 30},
    {"Ti", uint64_t{1} << 40},
    {"k", 1000},
    {"M", 1000 * 1000},
    {"G", 1000 * 1000 * 1000},
    {"T", 1000ULL * 1000 * 1000 * 1000},
};

bool IsDigits(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == absl::string_view::npos;
}

}  // namespace

absl::StatusOr<uint64_t> ShmSize(const state::v1::PodSpec& spec) {
  auto given = spec.annotations().find(kShmSizeAnnotation);
  if (given == spec.annotations().end()) return kDefault;
  const auto bad = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("annotations[", kShmSizeAnnotation, "]: '", given->second, "' ", why));
  };
  if (spec.namespaces().ipc() == state::v1::NODE) return bad("is for a pod that uses the host's /dev/shm");
  absl::string_view digits = given->second;
  uint64_t unit = 1;
  for (const auto& [suffix, factor] : kUnits) {
    if (!absl::EndsWith(digits, suffix)) continue;
    digits.remove_suffix(suffix.size());
    unit = factor;
    break;
  }
  uint64_t number = 0;
  if (!IsDigits(digits) || !absl::SimpleAtoi(digits, &number)) return bad("is not a quantity such as 128Mi");
  if (number == 0) return bad("is nothing");
  if (number > kMost / unit) return bad("is too large");
  return number * unit;
}

}  // namespace berth::spec
