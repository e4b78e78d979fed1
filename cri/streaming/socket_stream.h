// The bytes of a connected socket: TCP or unix.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>

#include "cri/streaming/byte_stream.h"
#include "runtime/sys/unique_fd.h"

namespace berth::streaming {

// OK for no error. A stream that we closed ourselves: Cancelled; one that the peer broke: Unavailable.
absl::Status StreamStatus(const boost::system::error_code& error, absl::string_view what);

// Takes over a connected, non-blocking socket.
absl::StatusOr<boost::asio::generic::stream_protocol::socket> AdoptSocket(boost::asio::io_context& io,
                                                                          sys::UniqueFd fd);

// Whether the peer has closed or broken the connection, whatever is left to read.
bool SocketGone(int socket);
// Bytes that the peer's machine has not taken.
size_t SocketUnsent(int socket);

class SocketStream : public ByteStream {
 public:
  // `slot` is released when the stream is: it counts connections.
  SocketStream(boost::asio::io_context& io, boost::asio::generic::stream_protocol::socket socket,
               std::shared_ptr<void> slot);

  boost::asio::io_context& context() override { return io_; }
  void Read(char* buffer, size_t size, OnRead done) override;
  void Write(absl::string_view first, absl::string_view second, OnDone done) override;
  int splice_target() const override { return fd_; }
  void AwaitWritable(OnDone done) override;
  void EndWrites() override;
  bool PeerGone() const override;
  size_t Unsent() const override { return fd_ < 0 ? 0 : SocketUnsent(fd_); }
  void Close() override;

 private:
  boost::asio::io_context& io_;
  const std::shared_ptr<void> slot_;
  boost::asio::generic::stream_protocol::socket socket_;
  int fd_;  // -1 once closed
};

}  // namespace berth::streaming
