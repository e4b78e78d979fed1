#include "cri/streaming/websocket_sessions.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/strip.h"
#include "cri/streaming/channel_codec.h"
#include "cri/streaming/idle_timer.h"
#include "cri/streaming/websocket.h"
#include "cri/streaming/websocket_channels.h"
#include "cri/streaming/websocket_tunnel.h"

namespace berth::streaming {
namespace {

using Input = WebSocketChannels::Input;

enum CommandChannel : size_t { kStdin, kStdout, kStderr, kError, kResize, kCommandChannels };

void RunChannelCommand(const SessionContext& context, const Request& request, ChannelProtocol protocol,
                       std::shared_ptr<WebSocket> socket) {
  const StreamFlags wanted = StreamsOf(request);
  std::vector<Input> inputs(kCommandChannels, Input::kNone);
  if (wanted.in) inputs[kStdin] = Input::kData;
  if (wanted.tty) inputs[kResize] = Input::kControl;
  boost::asio::io_context& io = socket->context();
  auto connection = std::make_shared<WebSocketChannels>(std::move(socket), protocol, inputs);
  CommandChannels channels;
  if (wanted.in) channels.in = connection->channel(kStdin);
  if (wanted.out) channels.out = connection->channel(kStdout);
  if (wanted.err) channels.err = connection->channel(kStderr);
  if (wanted.tty) channels.resize = connection->channel(kResize);
  channels.error = connection->channel(kError);
  channels.format = protocol.json_status ? StatusFormat::kJson : StatusFormat::kText;
  // Clients learn from an empty message on the first channel they can read that they are connected.
  connection->Announce(wanted.out ? kStdout : wanted.err ? kStderr : kError, "");
  RunCommand(context, io, request, std::move(channels), connection);
  connection->Start();
}

// Port i has the channels 2i for its data and 2i + 1 for what went wrong.
class ChannelForward : public std::enable_shared_from_this<ChannelForward> {
 public:
  ChannelForward(const SessionContext& context, const std::string& pod_id, boost::asio::io_context& io,
                 std::shared_ptr<WebSocketChannels> connection)
      : forwarder_(Forwarder::Create(context, io, pod_id)), connection_(std::move(connection)) {
    idle_.emplace(io, context.idle_timeout, [&connection = *connection_] { connection.Close(); });
  }

  void Start(const std::vector<uint16_t>& ports) {
    connection_->OnClosed([self = shared_from_this()] {
      self->forwarder_->Stop();
      self->idle_.reset();
    });
    connection_->OnActive([self = shared_from_this()] {
      if (self->idle_) self->idle_->Touch();
    });
    connection_->CloseAtEnd();
    for (size_t i = 0; i < ports.size(); ++i) {
      const std::string little_endian = {static_cast<char>(ports[i] & 0xff), static_cast<char>(ports[i] >> 8)};
      connection_->Announce(2 * i, little_endian);
      connection_->Announce(2 * i + 1, little_endian);
    }
    for (size_t i = 0; i < ports.size(); ++i) {
      forwarder_->Forward(ports[i], connection_->channel(2 * i), connection_->channel(2 * i + 1));
    }
    connection_->Start();
  }

 private:
  const std::shared_ptr<Forwarder> forwarder_;
  const std::shared_ptr<WebSocketChannels> connection_;
  std::optional<IdleTimer> idle_;
};

void RunChannelForward(const SessionContext& context, const PortForwardRequest& request,
                       const std::vector<uint16_t>& ports, ChannelProtocol protocol,
                       std::shared_ptr<WebSocket> socket) {
  std::vector<Input> inputs;
  for (size_t i = 0; i < ports.size(); ++i) inputs.insert(inputs.end(), {Input::kData, Input::kNone});
  boost::asio::io_context& io = socket->context();
  auto connection = std::make_shared<WebSocketChannels>(std::move(socket), protocol, inputs);
  std::make_shared<ChannelForward>(context, request.pod_id, io, std::move(connection))->Start(ports);
}

}  // namespace

void RunWebSocket(const SessionContext& context, const Request& request, const Upgrade& upgrade,
                  const RequestHead& head, std::shared_ptr<ByteStream> stream, std::string early) {
  const auto run = [&context, request, upgrade, stream](absl::StatusOr<std::shared_ptr<WebSocket>> socket) {
    if (!socket.ok()) return stream->Close();
    if (upgrade.carrier == Upgrade::Carrier::kTunnel) {
      const std::string protocol(absl::StripPrefix(upgrade.protocol, kTunnelPrefix));
      return RunSpdy(context, request, protocol, TunnelThrough(std::move(*socket)), "");
    }
    const ChannelProtocol protocol = ChannelProtocolOf(upgrade.protocol);
    if (const auto* forward = std::get_if<PortForwardRequest>(&request)) {
      return RunChannelForward(context, *forward, upgrade.ports, protocol, std::move(*socket));
    }
    RunChannelCommand(context, request, protocol, std::move(*socket));
  };
  WebSocket::Accept(stream, head, upgrade.protocol, std::move(early), run);
}

}  // namespace berth::streaming
