#include "image/reference/reference.h"

#include <arpa/inet.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "image/content/digest.h"
#include "image/store.h"

namespace berth::image {
namespace {

constexpr absl::string_view kDefaultHost = "docker.io";
constexpr size_t kMaxPath = 255;
constexpr size_t kMaxTag = 128;
constexpr size_t kMaxText = 1024;

bool IsLowerAlnum(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

absl::Status Bad(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("image reference '", text.substr(0, 300), "': ", why));
}

// [a-z0-9]+ ( "." | "_" | "__" | "-"+ between such runs )*
bool IsPathComponent(absl::string_view part) {
  size_t i = 0;
  while (true) {
    size_t run = i;
    while (i < part.size() && IsLowerAlnum(part[i])) ++i;
    if (i == run) return false;
    if (i == part.size()) return true;
    size_t from = i;
    while (i < part.size() && !IsLowerAlnum(part[i])) ++i;
    absl::string_view separator = part.substr(from, i - from);
    bool dashes = separator.find_first_not_of('-') == absl::string_view::npos;
    if (separator != "." && separator != "_" && separator != "__" && !dashes) return false;
  }
}

bool IsHostName(absl::string_view host) {
  for (absl::string_view label : absl::StrSplit(host, '.')) {
    if (label.empty() || label.front() == '-' || label.back() == '-') return false;
    for (char c : label) {
      if (!absl::ascii_isalnum(c) && c != '-') return false;
    }
  }
  return true;
}

absl::Status CheckPort(absl::string_view text, absl::string_view port) {
  int value = 0;
  bool digits = !port.empty() && std::all_of(port.begin(), port.end(), absl::ascii_isdigit);
  if (!digits || !absl::SimpleAtoi(port, &value) || value < 1 || value > 65535) {
    return Bad(text, absl::StrCat("'", port, "' is not a port"));
  }
  return absl::OkStatus();
}

absl::Status CheckHost(absl::string_view text, absl::string_view host) {
  if (absl::StartsWith(host, "[")) {
    size_t end = host.find(']');
    if (end == absl::string_view::npos) return Bad(text, "the host's '[' is not closed");
    in6_addr address;
    if (inet_pton(AF_INET6, std::string(host.substr(1, end - 1)).c_str(), &address) != 1) {
      return Bad(text, absl::StrCat("'", host.substr(1, end - 1), "' is not an IPv6 address"));
    }
    absl::string_view rest = host.substr(end + 1);
    if (rest.empty()) return absl::OkStatus();
    if (rest.front() != ':') return Bad(text, "only a port may follow the host's ']'");
    return CheckPort(text, rest.substr(1));
  }
  size_t colon = host.find(':');
  if (!IsHostName(host.substr(0, colon))) return Bad(text, absl::StrCat("'", host, "' is not a host name"));
  if (colon == absl::string_view::npos) return absl::OkStatus();
  return CheckPort(text, host.substr(colon + 1));
}

absl::Status CheckPath(absl::string_view text, absl::string_view path) {
  if (path.empty()) return Bad(text, "the repository name is missing");
  if (path.size() > kMaxPath) return Bad(text, "the repository name is longer than 255 characters");
  if (std::any_of(path.begin(), path.end(), absl::ascii_isupper)) {
    return Bad(text, "the repository name must be lower case");
  }
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (!IsPathComponent(part)) return Bad(text, absl::StrCat("'", part, "' is not a part of a repository name"));
  }
  return absl::OkStatus();
}

absl::Status CheckTag(absl::string_view text, absl::string_view tag) {
  if (tag.empty()) return Bad(text, "the tag is empty");
  if (tag.size() > kMaxTag) return Bad(text, "the tag is longer than 128 characters");
  bool good = tag.front() != '.' && tag.front() != '-' && std::all_of(tag.begin(), tag.end(), [](char c) {
                return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
              });
  return good ? absl::OkStatus() : Bad(text, absl::StrCat("'", tag, "' is not a tag"));
}

bool IsBareId(absl::string_view text) {
  return text.size() == 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); });
}

// Whether the part before the first slash is a host rather than a folder of docker.io.
bool LooksLikeHost(absl::string_view first) {
  return first == "localhost" || first.find_first_of(".:[") != absl::string_view::npos ||
         std::any_of(first.begin(), first.end(), absl::ascii_isupper);
}

}  // namespace

std::string Reference::Name() const { return absl::StrCat(host, "/", path); }

std::string Reference::Normal() const {
  return digest.empty() ? absl::StrCat(Name(), ":", tag) : absl::StrCat(Name(), "@", digest);
}

absl::StatusOr<Reference> ParseReference(absl::string_view text) {
  if (text.empty()) return absl::InvalidArgumentError("image reference is empty");
  if (text.size() > kMaxText) return Bad(text, "longer than 1024 characters");
  if (IsBareId(text)) return Bad(text, "64 hexadecimal digits name an image's id, not a repository");
  Reference ref;
  absl::string_view rest = text;
  if (size_t at = rest.find('@'); at != absl::string_view::npos) {
    ref.digest = std::string(rest.substr(at + 1));
    if (absl::Status status = CheckDigest(ref.digest); !status.ok()) return Bad(text, status.message());
    rest = rest.substr(0, at);
  }
  size_t slash = rest.find('/');
  if (slash != absl::string_view::npos && LooksLikeHost(rest.substr(0, slash))) {
    ref.host = std::string(rest.substr(0, slash));
    rest.remove_prefix(slash + 1);
    RETURN_IF_ERROR(CheckHost(text, ref.host));
    if (ref.host == "index.docker.io") ref.host = std::string(kDefaultHost);
  } else {
    ref.host = std::string(kDefaultHost);
  }
  if (size_t colon = rest.find(':'); colon != absl::string_view::npos) {
    ref.tag = std::string(rest.substr(colon + 1));
    rest = rest.substr(0, colon);
    RETURN_IF_ERROR(CheckTag(text, ref.tag));
  }
  if (ref.host == kDefaultHost && !rest.empty() && rest.find('/') == absl::string_view::npos) {
    ref.path = absl::StrCat("library/", rest);
  } else {
    ref.path = std::string(rest);
  }
  RETURN_IF_ERROR(CheckPath(text, ref.path));
  if (!ref.digest.empty()) {
    ref.tag.clear();
  } else if (ref.tag.empty()) {
    ref.tag = "latest";
  }
  return ref;
}

std::string EndpointHost(const Reference& reference) {
  return reference.host == kDefaultHost ? "registry-1.docker.io" : reference.host;
}

bool IsRegistryOf(const Reference& reference, absl::string_view server_address) {
  absl::string_view rest = absl::StripAsciiWhitespace(server_address);
  if (rest.empty()) return true;
  const bool plain = absl::StartsWithIgnoreCase(rest, "http://");
  if (size_t scheme = rest.find("://"); scheme != absl::string_view::npos) rest.remove_prefix(scheme + 3);
  auto canonical = [&](absl::string_view host) {
    std::string out = absl::AsciiStrToLower(host);
    for (absl::string_view hub : {"index.docker.io", "registry-1.docker.io"}) {
      if (out == hub) out = std::string(kDefaultHost);
    }
    absl::string_view name = out;
    // A port that need not be said.
    if (absl::ConsumeSuffix(&name, plain ? ":80" : ":443")) return std::string(name);
    return out;
  };
  return canonical(rest.substr(0, rest.find('/'))) == canonical(reference.host);
}

absl::StatusOr<std::string> NormalizeReference(absl::string_view reference) {
  ASSIGN_OR_RETURN(Reference parsed, ParseReference(reference));
  return parsed.Normal();
}

}  // namespace berth::image
