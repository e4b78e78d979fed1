#include "cri/streaming/websocket.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/buffer_traits.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <utility>

namespace berth::streaming {
namespace asio = boost::asio;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
namespace {

using boost::system::error_code;

// Of what the client sends. It is never kept whole; whoever announces more than this does not mean it.
constexpr size_t kMostMessage = size_t{1} << 30;

error_code CodeOf(const absl::Status& status) {
  if (status.ok()) return {};
  return absl::IsCancelled(status) ? asio::error::operation_aborted : asio::error::connection_reset;
}

// A ByteStream as Beast wants its streams (AsyncReadStream, AsyncWriteStream).
class Layer {
 public:
  using executor_type = asio::io_context::executor_type;

  Layer(std::shared_ptr<ByteStream> stream, std::string early) : stream_(std::move(stream)), early_(std::move(early)) {}

  executor_type get_executor() const noexcept { return stream_->context().get_executor(); }
  ByteStream& stream() { return *stream_; }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, size_t)>(
        [this](auto handler, const Buffers& into) { this->StartRead(into, std::move(handler)); }, token, buffers);
  }

  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, size_t)>(
        [this](auto handler, const Buffers& from) { this->StartWrite(from, std::move(handler)); }, token, buffers);
  }

 private:
  // Beast's handlers can only be moved, and a std::function has to be copied.
  template <typename Handler>
  static std::shared_ptr<Handler> Share(Handler handler) {
    return std::make_shared<Handler>(std::move(handler));
  }

  template <typename Buffers, typename Handler>
  void StartRead(const Buffers& buffers, Handler handler) {
    auto shared = Share(std::move(handler));
    if (!early_.empty()) {
      const size_t bytes = asio::buffer_copy(buffers, asio::buffer(early_));
      early_.erase(0, bytes);
      return asio::post(get_executor(), [shared, bytes] { std::move (*shared)(error_code(), bytes); });
    }
    asio::mutable_buffer into;
    for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers); ++it) {
      into = *it;
      if (into.size() != 0) break;
    }
    stream_->Read(static_cast<char*>(into.data()), into.size(),
                  [keep = stream_, shared](const absl::Status& status, size_t bytes) {
                    const error_code error = status.ok() && bytes == 0 ? asio::error::eof : CodeOf(status);
                    std::move (*shared)(error, bytes);
                  });
  }

  // A frame's header and the first bytes of its payload are put together; what is long is written from where it is.
  template <typename Buffers, typename Handler>
  void StartWrite(const Buffers& buffers, Handler handler) {
    head_.clear();
    asio::const_buffer rest;
    for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers); ++it) {
      const asio::const_buffer one = *it;
      if (one.size() > kShort) {
        rest = one;
        break;
      }
      head_.append(static_cast<const char*>(one.data()), one.size());
    }
    const size_t bytes = head_.size() + rest.size();
    stream_->Write(head_, {static_cast<const char*>(rest.data()), rest.size()},
                   [keep = stream_, shared = Share(std::move(handler)), bytes](const absl::Status& status) {
                     std::move (*shared)(CodeOf(status), status.ok() ? bytes : 0);
                   });
  }

  static constexpr size_t kShort = 256;

  std::shared_ptr<ByteStream> stream_;
  std::string early_;
  std::string head_;
};

// Beast's customization points: what it calls when both sides have said goodbye, and on timeouts, which are ours.
template <typename Handler>
void async_teardown(boost::beast::role_type, Layer& layer, Handler&& handler) {
  asio::post(layer.get_executor(), [handler = std::forward<Handler>(handler)]() mutable { handler(error_code()); });
}
void beast_close_socket(Layer& layer) { layer.stream().Close(); }

class BeastWebSocket : public WebSocket, public std::enable_shared_from_this<BeastWebSocket> {
 public:
  BeastWebSocket(std::shared_ptr<ByteStream> stream, std::string early)
      : stream_(stream), socket_(std::move(stream), std::move(early)) {
    socket_.read_message_max(kMostMessage);
    socket_.auto_fragment(false);
  }

  void Accept(const RequestHead& head, const std::string& protocol, OnAccept done) {
    http::request<http::empty_body> request(http::verb::get, head.path, 11);
    for (const auto& [name, value] : head.headers) request.insert(name, value);
    socket_.set_option(websocket::stream_base::decorator([protocol](websocket::response_type& response) {
      response.set(http::field::server, "berth");
      if (!protocol.empty()) response.set(http::field::sec_websocket_protocol, protocol);
    }));
    socket_.async_accept(request, [self = shared_from_this(), done = std::move(done)](error_code error) {
      if (error) return done(self->StatusOf(error, "accept"));
      done(std::shared_ptr<WebSocket>(self));
    });
  }

  asio::io_context& context() override { return stream_->context(); }

  void Read(OnPiece done) override {
    socket_.async_read_some(asio::buffer(buffer_),
                            [self = shared_from_this(), done = std::move(done)](error_code error, size_t bytes) {
                              if (error) return done(self->StatusOf(error, "read"));
                              const bool first = !std::exchange(self->inside_, !self->socket_.is_message_done());
                              done(Piece{{self->buffer_.data(), bytes}, first, !self->inside_});
                            });
  }

  void Send(bool text, absl::string_view first, absl::string_view second, OnDone done) override {
    socket_.text(text);
    const std::array<asio::const_buffer, 2> parts = {asio::buffer(first.data(), first.size()),
                                                     asio::buffer(second.data(), second.size())};
    socket_.async_write(parts, [self = shared_from_this(), done = std::move(done)](error_code error, size_t) {
      done(self->StatusOf(error, "write"));
    });
  }

  void Close(Code code, OnDone done) override {
    socket_.async_close(static_cast<websocket::close_code>(code),
                        [self = shared_from_this(), done = std::move(done)](error_code error) {
                          self->stream_->Close();
                          done(self->StatusOf(error, "close"));
                        });
  }

  bool PeerGone() const override { return stream_->PeerGone(); }
  size_t Unsent() const override { return stream_->Unsent(); }
  void Abort() override { stream_->Close(); }

 private:
  absl::Status StatusOf(const error_code& error, absl::string_view what) const {
    if (!error) return absl::OkStatus();
    if (error == asio::error::operation_aborted) return absl::CancelledError("the WebSocket was closed");
    if (error == websocket::error::closed) {
      const auto code = socket_.reason().code;
      if (code == websocket::close_code::none || code == websocket::close_code::normal ||
          code == websocket::close_code::going_away) {
        return absl::OutOfRangeError("the client has closed the WebSocket");
      }
    }
    return absl::UnavailableError(absl::StrCat(what, ": ", error.message()));
  }

  const std::shared_ptr<ByteStream> stream_;
  websocket::stream<Layer, false> socket_;  // no compression
  std::array<char, kPiece> buffer_;
  bool inside_ = false;  // a message
};

}  // namespace

void WebSocket::Accept(std::shared_ptr<ByteStream> stream, const RequestHead& head, const std::string& protocol,
                       std::string early, OnAccept done) {
  std::make_shared<BeastWebSocket>(std::move(stream), std::move(early))->Accept(head, protocol, std::move(done));
}

}  // namespace berth::streaming
