#include "cri/streaming/websocket_channels.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

namespace berth::streaming {
namespace {

constexpr auto kWatch = std::chrono::seconds(1);

absl::Status Gone() { return absl::UnavailableError("the client is gone"); }

}  // namespace

class WebSocketChannels::One : public Channel {
 public:
  One(WebSocketChannels& connection, uint8_t number, Input input)
      : connection_(connection), number_(number), data_(input == Input::kData), input_open_(input != Input::kNone) {}

  void Listen(Reader* reader) override {
    reader_ = reader;
    listened_ = true;
    if (reader == nullptr) {
      backlog_.clear();
      return ReleaseAll();
    }
    const std::string backlog = std::exchange(backlog_, {});
    if (!backlog.empty()) reader->OnBytes(backlog);
    Tell();
  }

  void Consumed(size_t bytes) override {
    bytes = std::min(bytes, unconsumed_);
    unconsumed_ -= bytes;
    connection_.Release(bytes);
  }

  void Send(absl::string_view bytes, Done done) override {
    done_ = std::move(done);
    to_send_ = bytes;
    if (connection_.client_gone_ || output_ended_) return Settle(Gone());
    if (bytes.empty()) return Settle(absl::OkStatus());
    connection_.Pump();
  }

  void SendFrom(int /*pipe*/, size_t /*bytes*/, Done done) override {
    done_ = std::move(done);
    Settle(absl::UnimplementedError("a message has its length in front"));
  }

  // The protocols have no way to tell the client.
  void End() override {
    if (std::exchange(output_ended_, true)) return;
    connection_.OnChannelDone();
  }

  void Reset() override {
    input_open_ = false;
    reset_ = true;
    Listen(nullptr);
    FailSend();
    End();
  }

  // Of the connection.
  void Take(absl::string_view bytes) {
    if (!input_open_ || (listened_ && reader_ == nullptr)) return;
    unconsumed_ += bytes.size();
    connection_.unconsumed_ += bytes.size();
    if (reader_ == nullptr) {
      backlog_.append(bytes.data(), bytes.size());
    } else {
      reader_->OnBytes(bytes);
    }
  }

  bool data_open() const { return data_ && input_open_; }
  bool output_ended() const { return output_ended_; }
  uint8_t number() const { return number_; }

  void EndInput() {
    if (!std::exchange(input_open_, false)) return;
    end_pending_ = true;
    Tell();
  }

  // The connection is gone.
  void Break() {
    reset_pending_ = !end_told_;
    input_open_ = end_pending_ = false;
    Tell();
    FailSend();
  }

  // What is on its way is told about when it has landed.
  void FailSend() {
    if (!to_send_.empty() && !in_flight_) Settle(Gone());
  }

  // What may be sent next: empty when nothing waits, or it is on its way.
  absl::string_view waiting() const { return in_flight_ ? absl::string_view() : to_send_; }
  void TakeOff() { in_flight_ = true; }
  void Landed(size_t bytes, const absl::Status& status) {
    in_flight_ = false;
    to_send_.remove_prefix(bytes);
    if (reset_ && status.ok()) return Settle(Gone());
    if (!status.ok() || to_send_.empty()) Settle(status);
  }

 private:
  // Ends the Send, later.
  void Settle(absl::Status status) {
    to_send_ = {};
    boost::asio::post(
        connection_.socket_->context(),
        [keep = connection_.shared_from_this(), status = std::move(status), done = std::exchange(done_, nullptr)] {
          if (done && !keep->finished_) done(status);
        });
  }

  void Tell() {
    if (reader_ == nullptr) return;
    if (std::exchange(end_pending_, false)) {
      end_told_ = true;
      reader_->OnEnd();
    } else if (std::exchange(reset_pending_, false)) {
      reader_->OnReset();
    }
  }

  void ReleaseAll() { connection_.Release(std::exchange(unconsumed_, 0)); }

  WebSocketChannels& connection_;
  const uint8_t number_;
  const bool data_;
  Reader* reader_ = nullptr;
  bool listened_ = false;
  bool input_open_;
  bool end_pending_ = false, end_told_ = false, reset_pending_ = false;
  std::string backlog_;    // from before there was a reader
  size_t unconsumed_ = 0;  // with the backlog
  absl::string_view to_send_;
  Done done_;
  bool in_flight_ = false, output_ended_ = false, reset_ = false;
};

WebSocketChannels::WebSocketChannels(std::shared_ptr<WebSocket> socket, ChannelProtocol protocol,
                                     const std::vector<Input>& inputs)
    : socket_(std::move(socket)),
      protocol_(protocol),
      decoder_(protocol, *this),
      timer_(socket_->context()),
      watch_(socket_->context()) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    channels_.push_back(std::make_unique<One>(*this, static_cast<uint8_t>(i), inputs[i]));
  }
}

WebSocketChannels::~WebSocketChannels() = default;

void WebSocketChannels::Announce(size_t channel, std::string bytes) {
  announcements_.emplace_back(static_cast<uint8_t>(channel), std::move(bytes));
}

std::shared_ptr<Channel> WebSocketChannels::channel(size_t number) {
  return std::shared_ptr<Channel>(shared_from_this(), channels_[number].get());
}

void WebSocketChannels::Start() {
  Read();
  Pump();
}

// --- what the client sends

void WebSocketChannels::Read() {
  if (reading_ || client_gone_) return;
  if (unconsumed_ > kMaxUnconsumed) return WatchClient();
  reading_ = true;
  socket_->Read([self = shared_from_this()](const absl::StatusOr<WebSocket::Piece>& piece) {
    // Who consumes a part of the piece must not start the read that overwrites the rest.
    const bool more = self->OnPiece(piece);
    self->reading_ = false;
    if (more) self->Read();
  });
}

// Nothing is read while the session takes nothing: that the client goes away is found by looking.
void WebSocketChannels::WatchClient() {
  watch_.expires_after(kWatch);
  // Without a read under way, nothing else may keep the connection.
  watch_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error) return;
    self->socket_->PeerGone() ? self->Finish() : self->Read();
  });
}

bool WebSocketChannels::OnPiece(const absl::StatusOr<WebSocket::Piece>& piece) {
  if (absl::IsOutOfRange(piece.status())) {
    OnGoodbye();
    return false;
  }
  if (!piece.ok()) {
    // After our goodbye it is the goodbye that ends the connection.
    if (!said_goodbye_) Finish();
    return false;
  }
  if (on_active_) on_active_();
  if (closing_) return true;
  const absl::Status status = decoder_.Feed(piece->bytes, piece->first, piece->last);
  if (!status.ok()) {
    for (auto& one : channels_) one->Break();
    closing_ = true;
    SayGoodbye(protocol_.base64 ? WebSocket::Code::kBadPayload : WebSocket::Code::kProtocolError);
    return false;
  }
  return true;
}

void WebSocketChannels::OnData(uint8_t channel, absl::string_view bytes) {
  if (channel < channels_.size()) channels_[channel]->Take(bytes);
}

void WebSocketChannels::OnCloseSignal(uint8_t channel) {
  if (channel < channels_.size()) channels_[channel]->EndInput();
}

void WebSocketChannels::OnGoodbye() {
  const bool ends_input =
      std::any_of(channels_.begin(), channels_.end(), [](const auto& one) { return one->data_open(); });
  if (!ends_input || closing_) return Finish();
  client_gone_ = true;
  After(std::chrono::seconds(kLingerSeconds));
  for (auto& one : channels_) {
    one->FailSend();
    if (one->data_open()) one->EndInput();
  }
}

void WebSocketChannels::Release(size_t bytes) {
  unconsumed_ -= bytes;
  Read();
}

// --- what the client gets

void WebSocketChannels::Pump() {
  if (sending_ || client_gone_ || said_goodbye_ || SendNext()) return;
  if (closing_) SayGoodbye(WebSocket::Code::kNormal);
}

// Announcements first, then the channels in turn. False when nothing waits.
bool WebSocketChannels::SendNext() {
  const auto send = [this](One* one, uint8_t number, absl::string_view bytes) {
    sending_ = true;
    encoded_ = EncodeMessage(protocol_, number, bytes);
    socket_->Send(protocol_.base64, encoded_, protocol_.base64 ? absl::string_view() : bytes,
                  [self = shared_from_this(), one, size = bytes.size()](const absl::Status& status) {
                    self->OnSent(one, size, status);
                  });
    return true;
  };
  if (!announcements_.empty()) return send(nullptr, announcements_.front().first, announcements_.front().second);
  for (size_t i = 0; i < channels_.size(); ++i) {
    One& one = *channels_[(turn_ + i) % channels_.size()];
    const absl::string_view bytes = one.waiting().substr(0, kMaxMessage);
    if (bytes.empty()) continue;
    turn_ = one.number() + 1u;
    one.TakeOff();
    return send(&one, one.number(), bytes);
  }
  return false;
}

void WebSocketChannels::OnSent(One* channel, size_t bytes, const absl::Status& status) {
  sending_ = false;
  if (on_active_) on_active_();
  if (channel == nullptr) {
    announcements_.pop_front();
  } else {
    channel->Landed(status.ok() ? bytes : 0, status);
    if (client_gone_) channel->FailSend();
  }
  if (client_gone_) return;
  if (!status.ok()) return Finish();
  Pump();
}

// --- the end

void WebSocketChannels::OnChannelDone() {
  if (!close_at_end_) return;
  if (std::all_of(channels_.begin(), channels_.end(), [](const auto& one) { return one->output_ended(); })) Close();
}

void WebSocketChannels::Close() {
  if (std::exchange(closing_, true) || finished_) return;
  After(client_gone_ ? std::chrono::seconds(0) : std::chrono::seconds(kLingerSeconds));
  Pump();
}

void WebSocketChannels::SayGoodbye(WebSocket::Code code) {
  if (std::exchange(said_goodbye_, true)) return;
  if (code == WebSocket::Code::kNormal) patience_.emplace();
  After(std::chrono::seconds(kLingerSeconds));
  socket_->Close(code, [self = shared_from_this()](const absl::Status&) { self->Finish(); });
}

void WebSocketChannels::After(std::chrono::seconds time) {
  timer_.expires_after(time);
  timer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error) return;
    const bool waits = self->patience_ && self->patience_->Waits(self->socket_->Unsent());
    waits ? self->After(std::chrono::seconds(kLingerSeconds)) : self->Finish();
  });
}

void WebSocketChannels::Finish() {
  if (std::exchange(finished_, true)) return;
  client_gone_ = true;
  timer_.cancel();
  watch_.cancel();
  socket_->Abort();
  for (auto& one : channels_) one->Break();
  on_active_ = nullptr;
  if (auto closed = std::exchange(on_closed_, nullptr)) closed();
}

}  // namespace berth::streaming
