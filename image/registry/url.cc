#include "image/registry/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace berth::image {
namespace {

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
using CurlUrl = std::unique_ptr<CURLU, FreeUrl>;

// The part, or "" when the URL has none.
std::string Part(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK || text == nullptr) return "";
  std::string out = text;
  curl_free(text);
  return out;
}

absl::Status Bad(absl::string_view text, absl::string_view why) {
  // Without the query, which may hold a signature.
  return absl::InvalidArgumentError(absl::StrCat("URL '", text.substr(0, text.find('?')), "': ", why));
}

absl::StatusOr<Url> FromCurl(CURLU* parsed, absl::string_view text) {
  Url url;
  url.scheme = absl::AsciiStrToLower(Part(parsed, CURLUPART_SCHEME));
  if (url.scheme != "http" && url.scheme != "https") return Bad(text, "neither http nor https");
  if (!Part(parsed, CURLUPART_USER).empty() || !Part(parsed, CURLUPART_PASSWORD).empty()) {
    return Bad(text, "a user name in a URL is not supported");
  }
  url.host = absl::AsciiStrToLower(Part(parsed, CURLUPART_HOST));
  if (url.host.empty()) return Bad(text, "no host");
  if (!absl::SimpleAtoi(Part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT), &url.port) || url.port == 0) {
    return Bad(text, "no port");
  }
  url.path = Part(parsed, CURLUPART_PATH);
  if (url.path.empty()) url.path = "/";
  if (std::string query = Part(parsed, CURLUPART_QUERY); !query.empty()) absl::StrAppend(&url.path, "?", query);
  return url;
}

bool HasControl(absl::string_view text) {
  for (char c : text) {
    if (absl::ascii_iscntrl(c)) return true;
  }
  return false;
}

}  // namespace

std::string Url::Authority() const {
  bool standard = port == (scheme == "https" ? 443 : 80);
  return standard ? host : absl::StrCat(host, ":", port);
}

std::string Url::ToString() const { return absl::StrCat(scheme, "://", Authority(), path); }

bool Url::SameOrigin(const Url& other) const {
  return scheme == other.scheme && host == other.host && port == other.port;
}

bool Url::IsLoopback() const { return IsLoopbackHost(host); }

absl::StatusOr<Url> ParseUrl(absl::string_view text) {
  if (HasControl(text)) return Bad("", "control characters");
  CurlUrl parsed(curl_url());
  if (curl_url_set(parsed.get(), CURLUPART_URL, std::string(text).c_str(), 0) != CURLUE_OK) {
    return Bad(text, "malformed");
  }
  return FromCurl(parsed.get(), text);
}

absl::StatusOr<Url> ResolveUrl(const Url& base, absl::string_view location) {
  if (location.empty() || HasControl(location)) return Bad("", "a redirect without a usable target");
  CurlUrl parsed(curl_url());
  if (curl_url_set(parsed.get(), CURLUPART_URL, base.ToString().c_str(), 0) != CURLUE_OK ||
      curl_url_set(parsed.get(), CURLUPART_URL, std::string(location).c_str(), 0) != CURLUE_OK) {
    return Bad(location, "malformed");
  }
  return FromCurl(parsed.get(), location);
}

bool IsLoopbackHost(absl::string_view host) {
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) host = host.substr(1, host.size() - 2);
  std::string text = absl::AsciiStrToLower(host);
  if (text == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, text.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string EscapeQuery(absl::string_view text) {
  char* escaped = curl_easy_escape(nullptr, text.data(), static_cast<int>(text.size()));
  std::string out = escaped ? escaped : "";
  curl_free(escaped);
  return out;
}

}  // namespace berth::image
