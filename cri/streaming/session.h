// The sessions themselves: a command's streams, and forwarded connections, over channels of any protocol.
// Each keeps itself alive, runs on the io_context of its connection, and closes the connection at its end.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cri/streaming/backend.h"
#include "cri/streaming/byte_stream.h"
#include "cri/streaming/channel.h"

namespace berth::streaming {

// What a session needs besides its connection; outlives all of them.
struct SessionContext {
  Backend& backend;
  // Runs blocking work on some other thread. ResourceExhausted when it will not.
  std::function<absl::Status(std::function<void()>)> post;
  absl::Duration idle_timeout;      // without a byte in either direction
  absl::Duration creation_timeout;  // for a client to open the streams that it needs
  // Bytes that attached clients together may lag behind their containers.
  std::shared_ptr<std::atomic<int64_t>> read_ahead = std::make_shared<std::atomic<int64_t>>(int64_t{32} << 20);
};

// How a command's end is told on its error channel.
enum class StatusFormat {
  kText,  // a message, or nothing: channel protocols before version 4
  kJson,  // a metav1.Status
};

// Those that the request does not ask for are null; `error` never is.
struct CommandChannels {
  std::shared_ptr<Channel> in, out, err, error, resize;
  StatusFormat format = StatusFormat::kJson;
};

// `request` is an ExecRequest or AttachRequest.
void RunCommand(const SessionContext& context, boost::asio::io_context& io, const Request& request,
                CommandChannels channels, std::shared_ptr<Connection> connection);

// Forwards to one port of a pod until both sides have ended. What goes wrong is told on `error`. Only `data` and
// `error` are ended, not the connection.
class Forwarder : public std::enable_shared_from_this<Forwarder> {
 public:
  virtual ~Forwarder() = default;
  static std::shared_ptr<Forwarder> Create(const SessionContext& context, boost::asio::io_context& io,
                                           std::string pod_id);
  virtual void Forward(uint16_t port, std::shared_ptr<Channel> data, std::shared_ptr<Channel> error) = 0;
  virtual size_t open() const = 0;  // connections
  // Resets all that is under way.
  virtual void Stop() = 0;
};

// Over a SPDY/3.1 connection whose handshake is done. `early`: what was read beyond the handshake. `protocol`: one of
// kCommandProtocols or kForwardProtocol, as it was agreed on.
void RunSpdy(const SessionContext& context, const Request& request, const std::string& protocol,
             std::shared_ptr<ByteStream> stream, std::string early);

// Best first. An empty protocol, of a client that names none, is the oldest.
inline constexpr const char* kCommandProtocols[] = {"v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io",
                                                    "channel.k8s.io"};
inline constexpr const char* kForwardProtocol = "portforward.k8s.io";

}  // namespace berth::streaming
