#include "cri/streaming/websocket_tunnel.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <string>
#include <utility>

namespace berth::streaming {
namespace {

// For the client to answer our goodbye; it may well be gone.
constexpr auto kGoodbye = std::chrono::seconds(1);

class Tunnel : public ByteStream, public std::enable_shared_from_this<Tunnel> {
 public:
  explicit Tunnel(std::shared_ptr<WebSocket> socket) : socket_(std::move(socket)), goodbye_(socket_->context()) {}

  boost::asio::io_context& context() override { return socket_->context(); }

  void Read(char* buffer, size_t size, OnRead done) override {
    if (closed_) return Later([done = std::move(done)] { done(Closed(), 0); });
    buffer_ = buffer;
    size_ = size;
    on_read_ = std::move(done);
    if (!received_.empty()) return Later([self = shared_from_this()] { self->Deliver(); });
    ReadPiece();
  }

  void Write(absl::string_view first, absl::string_view second, OnDone done) override {
    if (closed_) return Later([done = std::move(done)] { done(Closed()); });
    writing_ = true;
    socket_->Send(false, first, second,
                  [self = shared_from_this(), done = std::move(done)](const absl::Status& status) {
                    self->writing_ = false;
                    done(self->closed_ ? Closed() : status);
                  });
  }

  // A WebSocket ends both ways: what the client still sends is read and dropped, until it says goodbye, too.
  void EndWrites() override {
    if (closed_ || std::exchange(said_goodbye_, true)) return;
    socket_->Close(WebSocket::Code::kNormal, [self = shared_from_this()](const absl::Status&) {
      if (self->on_read_) std::exchange(self->on_read_, nullptr)(absl::OkStatus(), 0);
    });
  }
  bool PeerGone() const override { return closed_ || socket_->PeerGone(); }
  size_t Unsent() const override { return socket_->Unsent(); }

  // A client that gets no goodbye takes the end for a failure.
  void Close() override {
    if (std::exchange(closed_, true)) return;
    if (on_read_) {
      Later([done = std::exchange(on_read_, nullptr)] { done(Closed(), 0); });
    }
    if (writing_ || said_goodbye_) return socket_->Abort();
    goodbye_.expires_after(kGoodbye);
    goodbye_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
      if (!error) self->socket_->Abort();
    });
    socket_->Close(WebSocket::Code::kNormal,
                   [self = shared_from_this()](const absl::Status&) { self->goodbye_.cancel(); });
  }

 private:
  static absl::Status Closed() { return absl::CancelledError("the connection was closed"); }

  template <typename Call>
  void Later(Call call) {
    boost::asio::post(context(), std::move(call));
  }

  void ReadPiece() {
    socket_->Read([self = shared_from_this()](const absl::StatusOr<WebSocket::Piece>& piece) { self->OnPiece(piece); });
  }

  void OnPiece(const absl::StatusOr<WebSocket::Piece>& piece) {
    if (!on_read_) return;
    if (!piece.ok()) {
      const bool ended = absl::IsOutOfRange(piece.status());
      return std::exchange(on_read_, nullptr)(ended ? absl::OkStatus() : piece.status(), 0);
    }
    if (piece->bytes.empty()) return ReadPiece();
    received_.assign(piece->bytes.data(), piece->bytes.size());
    Deliver();
  }

  void Deliver() {
    if (!on_read_) return;
    const size_t taken = std::min(size_, received_.size());
    std::copy_n(received_.data(), taken, buffer_);
    received_.erase(0, taken);
    std::exchange(on_read_, nullptr)(absl::OkStatus(), taken);
  }

  const std::shared_ptr<WebSocket> socket_;
  boost::asio::steady_timer goodbye_;
  char* buffer_ = nullptr;
  size_t size_ = 0;
  OnRead on_read_;
  std::string received_;  // of a piece, what nobody has read yet
  bool writing_ = false, said_goodbye_ = false, closed_ = false;
};

}  // namespace

std::shared_ptr<ByteStream> TunnelThrough(std::shared_ptr<WebSocket> socket) {
  return std::make_shared<Tunnel>(std::move(socket));
}

}  // namespace berth::streaming
