#include "image/registry/challenge.h"

#include <optional>

#include "absl/strings/ascii.h"

namespace berth::image {
namespace {

bool IsTokenChar(char c) {
  return absl::ascii_isalnum(c) || absl::string_view("!#$%&'*+-.^_`|~/").find(c) != absl::string_view::npos;
}

class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool Done() const { return text_.empty(); }
  void SkipSpace() { text_ = absl::StripLeadingAsciiWhitespace(text_); }
  void SkipSeparators() {
    while (!text_.empty() && (text_.front() == ',' || absl::ascii_isspace(text_.front()))) text_.remove_prefix(1);
  }
  bool Eat(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::string Token() {
    size_t n = 0;
    while (n < text_.size() && IsTokenChar(text_[n])) ++n;
    std::string out(text_.substr(0, n));
    text_.remove_prefix(n);
    return out;
  }
  // A token, or a quoted string with its escapes resolved. Nothing when a quote is not closed.
  std::optional<std::string> Value() {
    if (!Eat('"')) return Token();
    std::string out;
    while (!text_.empty()) {
      char c = text_.front();
      text_.remove_prefix(1);
      if (c == '"') return out;
      if (c == '\\' && !text_.empty()) {
        c = text_.front();
        text_.remove_prefix(1);
      }
      out += c;
    }
    return std::nullopt;
  }

 private:
  absl::string_view text_;
};

}  // namespace

std::string Challenge::Param(const std::string& name) const {
  auto it = params.find(name);
  return it == params.end() ? "" : it->second;
}

std::vector<Challenge> ParseChallenges(absl::string_view header) {
  std::vector<Challenge> out;
  Scanner scanner(header);
  for (scanner.SkipSeparators(); !scanner.Done(); scanner.SkipSeparators()) {
    std::string word = absl::AsciiStrToLower(scanner.Token());
    if (word.empty()) break;
    scanner.SkipSpace();
    if (!scanner.Eat('=')) {  // a word without a value begins the next challenge
      out.push_back({.scheme = word});
      continue;
    }
    scanner.SkipSpace();
    std::optional<std::string> value = scanner.Value();
    if (!value || out.empty()) break;
    out.back().params.emplace(word, *std::move(value));  // of two equal names the first counts
  }
  return out;
}

}  // namespace berth::image
