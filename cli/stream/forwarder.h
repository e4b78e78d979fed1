// Connections to local ports, carried to ports of a pod over portforward.k8s.io: one session for all of them, made anew
// when it has ended.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/stream/port_spec.h"
#include "cli/stream/spdy_client.h"
#include "runtime/base/status.h"

namespace berth::cli::stream {

inline constexpr char kForwardProtocol[] = "portforward.k8s.io";

class Forwarder {
 public:
  struct Hooks {
    // A session with the pod.
    std::function<absl::StatusOr<std::unique_ptr<SpdyClient>>()> connect;
    // Whether the pod is still there to be connected to; asked when a session or a connection fails. Unavailable:
    // nobody knows, and we go on.
    std::function<absl::Status()> check;
    std::function<void(absl::string_view)> complain;  // of one connection's failure
  };

  Forwarder(std::vector<Listener> listeners, std::unique_ptr<SpdyClient> session, Hooks hooks)
      : listeners_(std::move(listeners)), session_(std::move(session)), hooks_(std::move(hooks)) {}

  // Serves for ever, or returns why no more can be forwarded.
  absl::Status Run();

 private:
  struct Connection {
    sys::UniqueFd socket;  // empty once both directions have ended
    const Listener* listener = nullptr;
    spdy::StreamId error = 0;
    bool shut = false;  // the pod's end was passed on
  };
  using Connections = std::map<spdy::StreamId, Connection>;  // by their data streams

  absl::Status Accept(const Listener& listener);
  absl::Status Start(sys::UniqueFd socket, const Listener& listener);
  absl::Status Serve(std::vector<pollfd>& polls);
  // False when the connection is over.
  bool Continue(spdy::StreamId data, Connection& connection, std::string* failure);

  std::vector<Listener> listeners_;
  std::unique_ptr<SpdyClient> session_;  // null while nobody needs one
  Hooks hooks_;
  Connections connections_;
  size_t most_ = 256;  // connections at once: more wait in the listeners' queues. Fewer when descriptors run out
  uint64_t last_request_ = 0;
};

}  // namespace berth::cli::stream
