#include "image/registry/proxy.h"

#include <arpa/inet.h>

#include <array>
#include <cstdlib>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace berth::image {
namespace {

std::string Variable(const char* upper, const char* lower) {
  const char* value = std::getenv(upper);
  if (value == nullptr || *value == '\0') value = std::getenv(lower);
  return value == nullptr ? "" : value;
}

using Address = std::array<uint8_t, 16>;  // an IPv4 address is written as the IPv6 address that stands for it

std::optional<Address> ParseAddress(const std::string& text) {
  Address out{};
  if (inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
  out = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (inet_pton(AF_INET, text.c_str(), out.data() + 12) == 1) return out;
  return std::nullopt;
}

bool IsBeneath(const Address& address, const Address& net, int bits) {
  for (int i = 0; i < bits; ++i) {
    uint8_t mask = static_cast<uint8_t>(0x80 >> (i % 8));
    if ((address[i / 8] & mask) != (net[i / 8] & mask)) return false;
  }
  return true;
}

// "10.0.0.0/8"; nothing when it is no such thing.
bool IsInCidr(const Address& address, absl::string_view entry) {
  std::pair<std::string, std::string> parts = absl::StrSplit(entry, absl::MaxSplits('/', 1));
  auto net = ParseAddress(parts.first);
  int bits = 0;
  if (!net || !absl::SimpleAtoi(parts.second, &bits)) return false;
  if (!absl::StrContains(parts.first, ":")) bits += 96;
  return bits >= 0 && bits <= 128 && IsBeneath(address, *net, bits);
}

// Cuts ":port" off `entry`; false when the port is another than `port`.
bool SuitsPort(absl::string_view& entry, int port) {
  size_t colon = entry.rfind(':');
  bool has_port =
      colon != absl::string_view::npos && (absl::EndsWith(entry.substr(0, colon), "]") || entry.find(':') == colon);
  if (!has_port) return true;
  int wanted = 0;
  if (!absl::SimpleAtoi(entry.substr(colon + 1), &wanted) || wanted != port) return false;
  entry = entry.substr(0, colon);
  return true;
}

absl::string_view WithoutBrackets(absl::string_view host) {
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) return host.substr(1, host.size() - 2);
  return host;
}

bool Matches(absl::string_view entry, const Url& url) {
  if (entry == "*") return true;
  std::string host(WithoutBrackets(url.host));
  std::optional<Address> address = ParseAddress(host);
  if (absl::StrContains(entry, "/")) return address && IsInCidr(*address, entry);
  if (!SuitsPort(entry, url.port)) return false;
  entry = WithoutBrackets(entry);
  if (address) return ParseAddress(std::string(entry)) == address;
  absl::ConsumePrefix(&entry, "*");
  // "example.com" is the host and all beneath it, ".example.com" only what is beneath it.
  if (absl::StartsWith(entry, ".")) return absl::EndsWith(host, entry);
  return host == entry || absl::EndsWith(host, absl::StrCat(".", entry));
}

}  // namespace

Proxies ProxiesFromEnvironment() {
  return {.http = Variable("HTTP_PROXY", "http_proxy"),
          .https = Variable("HTTPS_PROXY", "https_proxy"),
          .except = Variable("NO_PROXY", "no_proxy")};
}

std::string ProxyFor(const Proxies& proxies, const Url& url) {
  const std::string& proxy = url.scheme == "https" ? proxies.https : proxies.http;
  if (proxy.empty() || url.IsLoopback()) return "";
  for (absl::string_view part : absl::StrSplit(proxies.except, absl::ByAnyChar(", "))) {
    std::string entry = absl::AsciiStrToLower(absl::StripAsciiWhitespace(part));
    if (!entry.empty() && Matches(entry, url)) return "";
  }
  return absl::StrContains(proxy, "://") ? proxy : absl::StrCat("http://", proxy);
}

}  // namespace berth::image
