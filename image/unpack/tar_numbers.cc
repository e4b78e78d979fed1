#include "image/unpack/tar_numbers.h"

#include <algorithm>
#include <limits>

#include "absl/strings/numbers.h"

namespace berth::image {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kChecksumOffset = 148, kChecksumSize = 8;

// Big-endian two's complement, without the marker bit on top.
std::optional<int64_t> ParseBase256(absl::string_view field) {
  bool negative = (field[0] & 0x40) != 0;
  uint64_t flip = negative ? 0xff : 0;
  uint64_t value = 0;
  for (size_t i = 0; i < field.size(); ++i) {
    uint64_t byte = static_cast<unsigned char>(field[i]) ^ flip;
    if (i == 0) byte &= 0x7f;
    if (value >> 56 != 0) return std::nullopt;
    value = value << 8 | byte;
  }
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return negative ? ~static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

bool AllDigits(absl::string_view text) {
  if (text.empty()) return false;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
  }
  return true;
}

}  // namespace

std::optional<int64_t> ParseTarNumber(absl::string_view field) {
  if (!field.empty() && (field[0] & 0x80) != 0) return ParseBase256(field);
  auto blank = [](char c) { return c == ' ' || c == '\0'; };
  while (!field.empty() && blank(field.front())) field.remove_prefix(1);
  while (!field.empty() && blank(field.back())) field.remove_suffix(1);
  int64_t value = 0;  // at most 12 digits of 3 bits
  for (char c : field) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + (c - '0');
  }
  return value;
}

std::optional<uint64_t> ParsePaxNumber(absl::string_view text) {
  uint64_t value;
  if (!AllDigits(text) || !absl::SimpleAtoi(text, &value)) return std::nullopt;
  return value;
}

std::optional<struct timespec> ParsePaxTime(absl::string_view text) {
  bool negative = !text.empty() && text.front() == '-';
  if (negative) text.remove_prefix(1);
  absl::string_view seconds = text.substr(0, text.find('.'));
  absl::string_view fraction = text.substr(std::min(text.size(), seconds.size() + 1));
  if (!AllDigits(seconds) || (!fraction.empty() && !AllDigits(fraction))) return std::nullopt;
  struct timespec time = {};
  int64_t whole;
  if (!absl::SimpleAtoi(seconds, &whole)) whole = std::numeric_limits<int64_t>::max();
  for (size_t i = 0; i < 9; ++i) {
    time.tv_nsec = time.tv_nsec * 10 + (i < fraction.size() ? fraction[i] - '0' : 0);
  }
  time.tv_sec = negative ? -whole : whole;
  if (negative && time.tv_nsec > 0) {
    time.tv_sec -= 1;
    time.tv_nsec = 1'000'000'000 - time.tv_nsec;
  }
  return time;
}

bool TarChecksumMatches(const char* block) {
  int64_t as_unsigned = 0, as_signed = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    bool own = i >= kChecksumOffset && i < kChecksumOffset + kChecksumSize;
    char c = own ? ' ' : block[i];
    as_unsigned += static_cast<unsigned char>(c);
    as_signed += static_cast<signed char>(c);
  }
  auto stored = ParseTarNumber(absl::string_view(block + kChecksumOffset, kChecksumSize));
  return stored && (*stored == as_unsigned || *stored == as_signed);
}

}  // namespace berth::image
