// Which streams a SPDY client opens, and what they are for.
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cri/streaming/session.h"
#include "cri/streaming/spdy_connection.h"

namespace berth::streaming {
namespace {

using spdy::Headers;
using spdy::StreamId;

std::string Header(const Headers& headers, absl::string_view name) {
  for (const auto& [key, value] : headers) {
    if (key == name) return value;
  }
  return "";
}

// The streams of a command: `streamtype` is one of error, stdin, stdout, stderr and resize. The command begins when all
// those have come that the request asks for. Kept by the connection.
class CommandStreams : public std::enable_shared_from_this<CommandStreams> {
 public:
  CommandStreams(const SessionContext& context, boost::asio::io_context& io, Request request,
                 const std::string& protocol)
      : context_(context), io_(io), request_(std::move(request)), deadline_(io) {
    channels_.format = protocol == kCommandProtocols[0] ? StatusFormat::kJson : StatusFormat::kText;
    // Version 3 brought the terminal's size.
    const bool sizes = protocol == kCommandProtocols[0] || protocol == kCommandProtocols[1];
    const StreamFlags streams = StreamsOf(request_);
    Want("error", channels_.error);
    if (streams.in) Want("stdin", channels_.in);
    if (streams.out) Want("stdout", channels_.out);
    if (streams.err && !streams.tty) Want("stderr", channels_.err);
    if (streams.tty && sizes) Want("resize", channels_.resize);
  }

  void Use(std::shared_ptr<SpdyConnection> connection) {
    connection_ = connection;
    deadline_.expires_after(absl::ToChronoMilliseconds(context_.creation_timeout));
    deadline_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      auto self = weak.lock();
      // The time may have come while the last stream did.
      if (error || !self || self->wanted_.empty()) return;
      if (auto connection = self->connection_.lock()) connection->Close();
    });
  }

  bool Accept(std::shared_ptr<Channel> channel, const Headers& headers) {
    auto it = wanted_.find(Header(headers, "streamtype"));
    if (it == wanted_.end()) return false;
    *it->second = std::move(channel);
    wanted_.erase(it);
    if (wanted_.empty()) {
      deadline_.cancel();
      if (auto connection = connection_.lock()) {
        RunCommand(context_, io_, request_, std::move(channels_), std::move(connection));
      }
    }
    return true;
  }

 private:
  void Want(const char* type, std::shared_ptr<Channel>& channel) { wanted_[type] = &channel; }

  const SessionContext& context_;
  boost::asio::io_context& io_;
  const Request request_;
  CommandChannels channels_;
  std::map<std::string, std::shared_ptr<Channel>*> wanted_;
  std::weak_ptr<SpdyConnection> connection_;
  boost::asio::steady_timer deadline_;
};

// Each forwarded connection is a pair of streams, `streamtype` data and error, that share `requestid` and `port`. Old
// clients send no requestid: they open the error stream first and the data stream right after it.
class ForwardStreams : public std::enable_shared_from_this<ForwardStreams> {
 public:
  ForwardStreams(const SessionContext& context, boost::asio::io_context& io, const PortForwardRequest& request)
      : context_(context), io_(io), forwarder_(Forwarder::Create(context, io, request.pod_id)), idle_(io) {}

  void Use(std::shared_ptr<SpdyConnection> connection) {
    connection_ = connection;
    connection->OnClosed([self = shared_from_this()] {
      self->idle_.cancel();
      self->pairs_.clear();
      self->forwarder_->Stop();
    });
    AwaitIdle();
  }

  bool Accept(std::shared_ptr<Channel> channel, StreamId id, const Headers& headers) {
    const std::string type = Header(headers, "streamtype");
    if (type != "data" && type != "error") return false;
    uint32_t port = 0;
    if (!absl::SimpleAtoi(Header(headers, "port"), &port) || port == 0 || port > UINT16_MAX) return false;
    used_ = true;
    std::string key = Header(headers, "requestid");
    if (key.empty()) key = absl::StrCat("stream ", type == "error" ? id : id - 2);
    auto& pair = pairs_[key];
    if (!pair) pair = MakePair(key, static_cast<uint16_t>(port));
    std::shared_ptr<Channel>& mine = type == "data" ? pair->data : pair->error;
    if (mine || pair->port != port) return false;
    mine = std::move(channel);
    if (!pair->data || !pair->error) return true;
    std::shared_ptr<Pair> whole = std::move(pair);
    pairs_.erase(key);
    whole->deadline.cancel();
    forwarder_->Forward(whole->port, whole->data, whole->error);
    return true;
  }

 private:
  struct Pair {
    explicit Pair(boost::asio::io_context& io) : deadline(io) {}
    uint16_t port = 0;
    std::shared_ptr<Channel> data, error;
    boost::asio::steady_timer deadline;
  };

  std::shared_ptr<Pair> MakePair(const std::string& key, uint16_t port) {
    auto pair = std::make_shared<Pair>(io_);
    pair->port = port;
    pair->deadline.expires_after(absl::ToChronoMilliseconds(context_.creation_timeout));
    pair->deadline.async_wait([weak = weak_from_this(), key](const boost::system::error_code& error) {
      auto self = weak.lock();
      if (error || !self) return;
      auto it = self->pairs_.find(key);
      if (it == self->pairs_.end()) return;
      for (const auto& channel : {it->second->data, it->second->error}) {
        if (channel) channel->Reset();
      }
      self->pairs_.erase(it);
    });
    return pair;
  }

  // Each connection has its own patience; a session without any has this.
  void AwaitIdle() {
    idle_.expires_after(absl::ToChronoMilliseconds(context_.idle_timeout));
    idle_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      auto self = weak.lock();
      if (error || !self) return;
      if (std::exchange(self->used_, false) || self->forwarder_->open() > 0) return self->AwaitIdle();
      if (auto connection = self->connection_.lock()) connection->Close();
    });
  }

  const SessionContext& context_;
  boost::asio::io_context& io_;
  const std::shared_ptr<Forwarder> forwarder_;
  std::weak_ptr<SpdyConnection> connection_;
  std::map<std::string, std::shared_ptr<Pair>> pairs_;
  boost::asio::steady_timer idle_;
  bool used_ = false;
};

}  // namespace

void RunSpdy(const SessionContext& context, const Request& request, const std::string& protocol,
             std::shared_ptr<ByteStream> stream, std::string early) {
  boost::asio::io_context& io = stream->context();
  if (const auto* forward = std::get_if<PortForwardRequest>(&request)) {
    auto streams = std::make_shared<ForwardStreams>(context, io, *forward);
    streams->Use(SpdyConnection::Start(std::move(stream), std::move(early),
                                       [streams](auto channel, StreamId id, const Headers& headers) {
                                         return streams->Accept(std::move(channel), id, headers);
                                       }));
    return;
  }
  auto streams = std::make_shared<CommandStreams>(context, io, request, protocol);
  streams->Use(SpdyConnection::Start(std::move(stream), std::move(early),
                                     [streams](auto channel, StreamId, const Headers& headers) {
                                       return streams->Accept(std::move(channel), headers);
                                     }));
}

}  // namespace berth::streaming
