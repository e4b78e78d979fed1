// What an HTTP request is answered: pure decisions, without sockets. docs/design/0036-streaming.md, "HTTP".
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/streaming/backend.h"
#include "cri/streaming/request_head.h"

namespace berth::streaming {

struct Refusal {
  int status = 400;
  std::string text;  // one line, without its end
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// Which session a request asks for.
struct Target {
  enum class Kind { kExec, kAttach, kPortForward };  // as the alternatives of Request
  Kind kind;
  std::string token;
};

// How its channels will be carried.
struct Upgrade {
  enum class Carrier {
    kSpdy,
    kWebSocket,  // channels in its messages
    kTunnel,     // SPDY in its messages
  };
  Carrier carrier;
  std::string protocol;              // one that the client named, or empty when it named none
  std::vector<uint16_t> ports = {};  // of a port-forward by a WebSocket's channels
};

Target::Kind KindOf(const Request& request);
// "/exec/TOKEN" and the like.
std::string PathOf(Target::Kind kind, absl::string_view token);

// Method, path and origin: what is decided before a token is looked up.
std::variant<Refusal, Target> FindTarget(const RequestHead& head);
// Of a token that is unknown, spent, expired or of another kind: no one can tell which.
Refusal NoSuchSession();
// The protocols. `request` is the token's.
std::variant<Refusal, Upgrade> ChooseUpgrade(const RequestHead& head, const Request& request);

// The whole response; the connection is closed after it.
std::string ResponseOf(const Refusal& refusal);
// "101 Switching Protocols" for SPDY.
std::string SpdyResponse(const Upgrade& upgrade);

// SPDY inside a WebSocket: this, then the protocol of the SPDY connection.
inline constexpr absl::string_view kTunnelPrefix = "SPDY/3.1+";
// Ports of one WebSocket: with base64 a channel's number is '0' + number, and has to stay ASCII.
inline constexpr size_t kMaxWebSocketPorts = 32;

}  // namespace berth::streaming
