#include "cri/streaming/handshake.h"

#include <iterator>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cri/streaming/session.h"

namespace berth::streaming {
namespace {

constexpr absl::string_view kPrefixes[] = {"/exec/", "/attach/", "/portforward/"};
constexpr absl::string_view kVersionHeader = "X-Stream-Protocol-Version";
constexpr absl::string_view kWebSocketCommands[] = {
    "v5.channel.k8s.io", "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io"};
constexpr absl::string_view kWebSocketForwards[] = {"v4.channel.k8s.io", "v4.base64.channel.k8s.io",
                                                    "SPDY/3.1+portforward.k8s.io"};

struct Authority {
  absl::string_view host;  // an IPv6 address without its brackets
  absl::string_view port;  // empty for the scheme's
};

Authority SplitAuthority(absl::string_view text) {
  if (absl::ConsumePrefix(&text, "[")) {
    const size_t end = text.find(']');
    if (end == absl::string_view::npos) return {};
    absl::string_view port = text.substr(end + 1);
    absl::ConsumePrefix(&port, ":");
    return {text.substr(0, end), port};
  }
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

// A name that no DNS server has a say in.
bool IsAddress(absl::string_view host) {
  if (absl::EqualsIgnoreCase(host, "localhost")) return true;
  if (absl::StrContains(host, ':')) return true;
  std::vector<absl::string_view> parts = absl::StrSplit(host, '.');
  if (parts.size() != 4) return false;
  for (absl::string_view part : parts) {
    uint32_t number;
    if (!absl::SimpleAtoi(part, &number) || number > 255) return false;
  }
  return true;
}

// Browsers alone send an Origin of their own, and the page behind it may be anybody's: its name may even lead to us
// (DNS rebinding). A page that we are to serve has our own address as its origin. What comes by way of a proxy, as
// everything from the kubelet does, carries the origin that the proxy's client had, which is the proxy's to judge; it
// is known by X-Forwarded-For, a header that no page can add to a WebSocket's handshake.
bool OriginIsOurs(const RequestHead& head) {
  if (!head.Has("origin") || head.Has("x-forwarded-for")) return true;
  const std::vector<absl::string_view> origin = absl::StrSplit(head.Header("origin"), absl::MaxSplits("://", 1));
  if (origin.size() != 2 || !absl::EqualsIgnoreCase(origin[1], head.Header("host"))) return false;
  return IsAddress(SplitAuthority(origin[1]).host);
}

template <typename List>
std::string Join(const List& list) {
  return absl::StrJoin(std::begin(list), std::end(list), ", ");
}

// The first of the client's that is among ours.
template <typename List>
std::optional<std::string> FirstCommon(const std::vector<std::string>& theirs, const List& ours) {
  for (const std::string& one : theirs) {
    for (absl::string_view known : ours) {
      if (one == known) return one;
    }
  }
  return std::nullopt;
}

template <typename List>
std::variant<Refusal, Upgrade> ChooseSpdy(const std::vector<std::string>& theirs, bool named, const List& ours,
                                          bool may_name_none) {
  if (!named && may_name_none) return Upgrade{Upgrade::Carrier::kSpdy, ""};
  if (theirs.empty()) return Refusal{400, absl::StrCat("the header ", kVersionHeader, " names no protocol")};
  if (auto protocol = FirstCommon(theirs, ours)) return Upgrade{Upgrade::Carrier::kSpdy, *protocol};
  Refusal refusal{403, absl::StrCat("none of the protocols asked for is here; there are: ", Join(ours))};
  for (absl::string_view one : ours) refusal.headers.emplace_back("X-Accepted-Stream-Protocol-Versions", one);
  return refusal;
}

// "%2C" and the like; an error leaves the text as it is, which then is no number.
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 1])) &&
        absl::ascii_isxdigit(static_cast<unsigned char>(text[i + 2]))) {
      out += static_cast<char>(std::stoi(std::string(text.substr(i + 1, 2)), nullptr, 16));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// "port=80&port=81", "ports=80,81"; without any the ports that the request was made with.
std::variant<Refusal, std::vector<uint16_t>> PortsOf(const RequestHead& head, const PortForwardRequest& request) {
  std::vector<uint16_t> ports;
  for (absl::string_view pair : absl::StrSplit(head.query, '&', absl::SkipEmpty())) {
    if (!absl::ConsumePrefix(&pair, "port=") && !absl::ConsumePrefix(&pair, "ports=")) continue;
    for (absl::string_view text : absl::StrSplit(Unescape(pair), ',')) {
      uint32_t port;
      if (!absl::SimpleAtoi(text, &port) || port == 0 || port > 65535) {
        return Refusal{400, "the query parameter port has a value that is no number from 1 to 65535"};
      }
      ports.push_back(static_cast<uint16_t>(port));
    }
  }
  if (ports.empty()) ports = request.ports;
  if (ports.empty()) return Refusal{400, "the query parameter port is missing"};
  if (ports.size() > kMaxWebSocketPorts) {
    return Refusal{400, absl::StrCat("at most ", kMaxWebSocketPorts, " ports fit into one connection")};
  }
  return ports;
}

std::optional<Refusal> CheckWebSocket(const RequestHead& head) {
  if (head.method != "GET") return Refusal{405, "a WebSocket begins with GET", {{"Allow", "GET"}}};
  if (head.Header("sec-websocket-version") != "13") {
    return Refusal{400, "Sec-WebSocket-Version has to be 13", {{"Sec-WebSocket-Version", "13"}}};
  }
  if (head.Header("sec-websocket-key").size() != 24) return Refusal{400, "Sec-WebSocket-Key has to hold 16 bytes"};
  return std::nullopt;
}

std::variant<Refusal, Upgrade> ChooseWebSocket(const RequestHead& head, const Request& request) {
  if (auto refusal = CheckWebSocket(head)) return *refusal;
  const std::vector<std::string> theirs = head.List("sec-websocket-protocol");
  const auto* forward = std::get_if<PortForwardRequest>(&request);
  std::string protocol;
  if (!theirs.empty()) {
    const auto common = forward ? FirstCommon(theirs, kWebSocketForwards) : FirstCommon(theirs, kWebSocketCommands);
    if (!common) {
      return Refusal{403, absl::StrCat("none of the subprotocols asked for is here; there are: ",
                                       forward ? Join(kWebSocketForwards) : Join(kWebSocketCommands))};
    }
    protocol = *common;
  }
  if (absl::StartsWith(protocol, kTunnelPrefix)) return Upgrade{Upgrade::Carrier::kTunnel, protocol};
  Upgrade upgrade{Upgrade::Carrier::kWebSocket, protocol};
  if (forward != nullptr) {
    auto ports = PortsOf(head, *forward);
    if (auto* refusal = std::get_if<Refusal>(&ports)) return *refusal;
    upgrade.ports = std::get<std::vector<uint16_t>>(ports);
  }
  return upgrade;
}

absl::string_view ReasonOf(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
  }
  return "Error";
}

}  // namespace

Target::Kind KindOf(const Request& request) { return static_cast<Target::Kind>(request.index()); }

std::string PathOf(Target::Kind kind, absl::string_view token) {
  return absl::StrCat(kPrefixes[static_cast<int>(kind)], token);
}

std::variant<Refusal, Target> FindTarget(const RequestHead& head) {
  if (head.method != "GET" && head.method != "POST") {
    return Refusal{405, "only GET and POST are here", {{"Allow", "GET, POST"}}};
  }
  if (!OriginIsOurs(head)) return Refusal{403, "not for a page of another origin"};
  for (size_t i = 0; i < std::size(kPrefixes); ++i) {
    absl::string_view token = head.path;
    if (absl::ConsumePrefix(&token, kPrefixes[i])) return Target{static_cast<Target::Kind>(i), std::string(token)};
  }
  return NoSuchSession();
}

Refusal NoSuchSession() { return {404, "no session waits here: a URL is good once and for a short while"}; }

std::variant<Refusal, Upgrade> ChooseUpgrade(const RequestHead& head, const Request& request) {
  if (head.has_body) return Refusal{400, "a request that asks for an upgrade has no body"};
  const bool upgrade = head.Lists("connection", "upgrade");
  if (upgrade && head.Lists("upgrade", "websocket")) return ChooseWebSocket(head, request);
  if (!upgrade || !head.Lists("upgrade", "SPDY/3.1")) {
    return Refusal{400, "only for an upgrade to SPDY/3.1 or websocket"};
  }
  const std::vector<std::string> theirs = head.List("x-stream-protocol-version");
  const bool named = head.Has("x-stream-protocol-version");
  if (!std::holds_alternative<PortForwardRequest>(request)) return ChooseSpdy(theirs, named, kCommandProtocols, true);
  constexpr absl::string_view kForward[] = {kForwardProtocol};
  return ChooseSpdy(theirs, named, kForward, false);
}

std::string ResponseOf(const Refusal& refusal) {
  std::string response = absl::StrCat("HTTP/1.1 ", refusal.status, " ", ReasonOf(refusal.status), "\r\n");
  for (const auto& [name, value] : refusal.headers) absl::StrAppend(&response, name, ": ", value, "\r\n");
  absl::StrAppend(&response, "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n",
                  "Content-Length: ", refusal.text.size() + 1, "\r\nConnection: close\r\n\r\n", refusal.text, "\n");
  return response;
}

std::string SpdyResponse(const Upgrade& upgrade) {
  std::string response = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
  if (!upgrade.protocol.empty()) absl::StrAppend(&response, kVersionHeader, ": ", upgrade.protocol, "\r\n");
  return response + "\r\n";
}

}  // namespace berth::streaming
