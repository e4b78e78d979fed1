// The streaming server: URLs for sessions, and the HTTP server behind them. docs/design/0036-streaming.md.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "cri/streaming/backend.h"
#include "cri/streaming/session.h"
#include "runtime/base/status.h"

namespace berth::streaming {

class Server {
 public:
  struct Options {
    std::string address = "127.0.0.1";  // to listen on, IPv4 or IPv6; other than loopback only with TLS
    uint16_t port = 0;                  // 0: any
    std::string unix_socket;            // served besides, mode 0600; empty: none
    std::string tls_cert, tls_key;      // PEM files, read anew when they change; empty: no TLS
    std::string tls_client_ca;          // clients must show a certificate of it; empty: none asked for
    absl::Duration url_lifetime = absl::Minutes(1);
    absl::Duration handshake_timeout = absl::Seconds(30);  // from the first byte to the end of the request's head
    size_t max_pending = 1000;                             // URLs that nobody has used yet
    size_t max_sessions = 1000;                            // connections at once
    int threads = 2;
  };

  // Listens and serves. InvalidArgument names the option; Unavailable when the address is taken. The process has to
  // ignore SIGPIPE.
  static absl::StatusOr<std::unique_ptr<Server>> Start(Options options, SessionContext context);
  // Ends all sessions.
  virtual ~Server() = default;

  // The URL for one session, good once and for `url_lifetime`. It is a secret. ResourceExhausted when too many wait.
  // Thread-safe.
  virtual absl::StatusOr<std::string> Url(Request request) = 0;
  virtual uint16_t port() const = 0;  // listened on
};

}  // namespace berth::streaming
