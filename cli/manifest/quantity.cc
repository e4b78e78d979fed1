#include "cli/manifest/quantity.h"

#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace berth::cli::manifest {
namespace {

using Wide = __int128;
constexpr Wide kLimit = static_cast<Wide>(1) << 100;

struct Suffix {
  const char* text;
  int64_t numerator;
  int64_t denominator;
};

constexpr std::array<Suffix, 15> kSuffixes = {{{"", 1, 1},
                                               {"n", 1, 1'000'000'000},
                                               {"u", 1, 1'000'000},
                                               {"m", 1, 1000},
                                               {"k", 1000, 1},
                                               {"M", 1'000'000, 1},
                                               {"G", 1'000'000'000, 1},
                                               {"T", 1'000'000'000'000, 1},
                                               {"P", 1'000'000'000'000'000, 1},
                                               {"E", 1'000'000'000'000'000'000, 1},
                                               {"Ki", int64_t{1} << 10, 1},
                                               {"Mi", int64_t{1} << 20, 1},
                                               {"Gi", int64_t{1} << 30, 1},
                                               {"Ti", int64_t{1} << 40, 1},
                                               {"Pi", int64_t{1} << 50, 1}}};

// `number` = digits / 10^decimals, taken off the front of `text`. False without a digit or with too
// many of them.
bool TakeNumber(absl::string_view& text, Wide& digits, int& decimals) {
  bool any = false, after_point = false;
  digits = 0;
  decimals = 0;
  while (!text.empty() && (absl::ascii_isdigit(text[0]) || (text[0] == '.' && !after_point))) {
    if (text[0] == '.') {
      after_point = true;
    } else {
      any = true;
      digits = digits * 10 + (text[0] - '0');
      decimals += after_point ? 1 : 0;
      if (digits > kLimit || decimals > 18) return false;
    }
    text.remove_prefix(1);
  }
  return any;
}

bool ApplySuffix(absl::string_view suffix, Wide& numerator, Wide& denominator) {
  for (const Suffix& known : kSuffixes) {
    if (suffix != known.text) continue;
    numerator *= known.numerator;
    denominator *= known.denominator;
    return true;
  }
  int exponent = 0;
  if (suffix.size() < 2 || (suffix[0] != 'e' && suffix[0] != 'E')) return false;
  if (!absl::SimpleAtoi(suffix.substr(1), &exponent) || exponent < -18 || exponent > 18) return false;
  for (; exponent > 0; --exponent) numerator *= 10;
  for (; exponent < 0; ++exponent) denominator *= 10;
  return true;
}

}  // namespace

absl::StatusOr<int64_t> ParseQuantity(absl::string_view text, int64_t scale) {
  auto error = [whole = text](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("'", whole, "' ", why));
  };
  absl::string_view rest = text;
  if (!rest.empty() && rest[0] == '-') return error("is negative");
  if (!rest.empty() && rest[0] == '+') rest.remove_prefix(1);
  Wide digits = 0;
  int decimals = 0;
  if (!TakeNumber(rest, digits, decimals)) return error("is not a quantity such as 500m, 1.5 or 64Mi");
  // What exceeds this is far out of int64's range, whatever the denominator; below it no product
  // overflows 128 bits.
  if (digits > static_cast<Wide>(INT64_MAX)) return error("is too large");
  Wide numerator = digits, denominator = 1;
  if (!ApplySuffix(rest, numerator, denominator)) return error("is not a quantity such as 500m, 1.5 or 64Mi");
  if (numerator > kLimit) return error("is too large");
  numerator *= scale;
  for (; decimals > 0; --decimals) denominator *= 10;
  Wide result = (numerator + denominator - 1) / denominator;
  if (result > static_cast<Wide>(INT64_MAX)) return error("is too large");
  return static_cast<int64_t>(result);
}

std::string ExpandVariables(absl::string_view text, const std::map<std::string, std::string>& variables) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '$' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    if (text[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    size_t close = text[i + 1] == '(' ? text.find(')', i) : absl::string_view::npos;
    if (close == absl::string_view::npos) {
      out += '$';
      continue;
    }
    std::string name(text.substr(i + 2, close - i - 2));
    auto found = variables.find(name);
    absl::StrAppend(&out, found == variables.end() ? absl::StrCat("$(", name, ")") : found->second);
    i = close;
  }
  return out;
}

}  // namespace berth::cli::manifest
