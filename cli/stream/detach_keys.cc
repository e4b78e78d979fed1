#include "cli/stream/detach_keys.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth::cli::stream {

absl::StatusOr<std::string> ParseDetachKeys(absl::string_view list) {
  std::string keys;
  if (list.empty()) return keys;
  for (absl::string_view key : absl::StrSplit(list, ',')) {
    if (key.size() == 1 && absl::ascii_isascii(static_cast<unsigned char>(key[0]))) {
      keys += key[0];
      continue;
    }
    bool control = absl::StartsWithIgnoreCase(key, "ctrl-") && key.size() == 6;
    char c = control ? absl::ascii_toupper(static_cast<unsigned char>(key[5])) : '\0';
    if (c < '@' || c > '_')
      return absl::InvalidArgumentError(absl::StrCat("'", key, "' is no key such as ctrl-p or x"));
    keys += static_cast<char>(c - '@');
  }
  return keys;
}

std::string DetachKeys::Filter(absl::string_view typed) {
  if (keys_.empty()) return std::string(typed);
  std::string passed;
  for (char c : typed) {
    if (detached_) break;
    held_ += c;
    while (!absl::StartsWith(keys_, held_)) {
      passed += held_[0];
      held_.erase(0, 1);
    }
    detached_ = held_ == keys_;
  }
  return passed;
}

}  // namespace berth::cli::stream
