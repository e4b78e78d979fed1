// A WebSocket (RFC 6455) as messages, whole or in pieces. The framing is Boost.Beast's: it answers pings, and closes
// the connection for frames that are wrong or not masked. Lives on the thread of its stream's io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "cri/streaming/byte_stream.h"
#include "cri/streaming/request_head.h"

namespace berth::streaming {

class WebSocket {
 public:
  // Messages have no bound, pieces have: a client may send a file in one message, and nobody keeps it whole.
  static constexpr size_t kPiece = 32 * 1024;
  struct Piece {
    absl::string_view bytes;  // valid during the call; may be empty
    bool first, last;         // of its message
  };
  // Callbacks run later, never inside the call. Whoever waits keeps the WebSocket alive.
  using OnPiece = std::function<void(const absl::StatusOr<Piece>&)>;
  using OnDone = std::function<void(absl::Status)>;
  using OnAccept = std::function<void(absl::StatusOr<std::shared_ptr<WebSocket>>)>;

  // RFC 6455, section 7.4.1.
  enum class Code : uint16_t { kNormal = 1000, kProtocolError = 1002, kBadPayload = 1007 };

  // Answers the handshake in `head`, which has been found good, with `protocol` (empty: none). `early`: what was read
  // beyond it.
  static void Accept(std::shared_ptr<ByteStream> stream, const RequestHead& head, const std::string& protocol,
                     std::string early, OnAccept done);
  virtual ~WebSocket() = default;
  virtual boost::asio::io_context& context() = 0;

  // The next piece, of a text or a binary message. OutOfRange when the client has closed the connection as it should
  // (1000, 1001 or no code), Cancelled after Close or Abort, Unavailable otherwise. One at a time.
  virtual void Read(OnPiece done) = 0;
  // One message of both parts, which stay valid until `done`. One at a time.
  virtual void Send(bool text, absl::string_view first, absl::string_view second, OnDone done) = 0;
  // Says goodbye and waits for the client to do the same, for as long as it takes. What was being sent goes first.
  virtual void Close(Code code, OnDone done) = 0;
  // As of a ByteStream.
  virtual bool PeerGone() const = 0;
  virtual size_t Unsent() const = 0;
  // Ends both directions at once.
  virtual void Abort() = 0;
};

}  // namespace berth::streaming
