// SPDY/3.1 over a stream of bytes, as channels. On the io_context's thread.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cri/streaming/byte_stream.h"
#include "cri/streaming/channel.h"
#include "cri/streaming/patience.h"
#include "cri/streaming/spdy/session.h"

namespace berth::streaming {

class SpdyConnection final : public Connection,
                             private spdy::Events,
                             public std::enable_shared_from_this<SpdyConnection> {
 public:
  // A stream that the client opened, which has been answered (SYN_REPLY). False: it is reset.
  using Accept = std::function<bool(std::shared_ptr<Channel>, spdy::StreamId, const spdy::Headers&)>;

  // Begins to read, after `early`, which came with the handshake. `accept` is kept until the connection has ended.
  static std::shared_ptr<SpdyConnection> Start(std::shared_ptr<ByteStream> stream, std::string early, Accept accept);
  ~SpdyConnection() override;

  void Close() override;
  void OnClosed(std::function<void()> closed) override { closed_ = std::move(closed); }

 private:
  class Stream;

  SpdyConnection(std::shared_ptr<ByteStream> stream, Accept accept);

  // spdy::Events
  void OnStream(spdy::StreamId id, const spdy::Headers& headers, bool fin) override;
  void OnReply(spdy::StreamId, const spdy::Headers&, bool) override {}
  void OnHeaders(spdy::StreamId id, const spdy::Headers& headers, bool fin) override;
  void OnData(spdy::StreamId id, absl::string_view bytes, bool fin) override;
  void OnReset(spdy::StreamId id, spdy::RstStatus status) override;
  void OnWindow(spdy::StreamId id) override;
  void OnPong(uint32_t) override {}
  void OnGoAway(spdy::GoAwayStatus) override {}

  void Received(absl::string_view bytes);
  void Read();
  void OnRead(absl::Status status, size_t bytes);
  void WatchPeer();
  // What is to be written next, if nothing is.
  void Write();
  void SayGoodbye();
  void Linger();
  void WriteControl();
  void WriteData(std::shared_ptr<Stream> stream);
  void Splice();
  void OnWritten(absl::Status status);
  void Enqueue(const std::shared_ptr<Stream>& stream);
  void Released(size_t bytes);
  void Later(std::function<void()> work);
  void Broken(const absl::Status& why);
  void Ended();
  std::shared_ptr<Stream> Find(spdy::StreamId id) const;

  // Bytes that clients have sent and nobody has passed on: past it we read no more, unless its windows hold the client.
  static constexpr size_t kMostKept = 1024 * 1024;
  bool full() const { return kept_ > kMostKept && !session_.peer_keeps_windows(); }
  static constexpr size_t kReadSize = 256 * 1024;
  static constexpr size_t kMostFrame = 128 * 1024;

  const std::shared_ptr<ByteStream> stream_;
  Accept accept_;
  std::function<void()> closed_;
  spdy::Session session_;
  boost::asio::steady_timer linger_, farewell_, peer_watch_;
  std::map<spdy::StreamId, std::shared_ptr<Stream>> streams_;
  std::deque<std::shared_ptr<Stream>> ready_;  // have something to send, in turn
  // Pages that no read has touched cost nothing.
  const std::unique_ptr<char[]> input_{new char[kReadSize]};
  size_t kept_ = 0;
  bool reading_ = false;
  bool closing_ = false;  // Close was called
  bool leaving_ = false;  // all is sent
  bool told_ = false;     // by GOAWAY
  bool done_writing_ = false;
  bool failed_ = false;  // the client has broken the protocol
  std::optional<Patience> patience_;
  bool ended_ = false;

  // The one write that is under way.
  struct Writing {
    bool active = false;
    std::string control;
    std::shared_ptr<Stream> stream;  // of a data frame
    std::array<char, spdy::Session::kDataHeader> header;
    size_t header_left = 0;  // of a spliced frame
    size_t bytes = 0;        // of the frame
    size_t left = 0;         // of a spliced frame
    bool fin = false;
  } writing_;
};

}  // namespace berth::streaming
