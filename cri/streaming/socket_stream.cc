#include "cri/streaming/socket_stream.h"

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <utility>

namespace berth::streaming {
namespace asio = boost::asio;
using Socket = asio::generic::stream_protocol::socket;

absl::Status StreamStatus(const boost::system::error_code& error, absl::string_view what) {
  if (!error) return absl::OkStatus();
  if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) {
    return absl::CancelledError(absl::StrCat(what, ": the connection was closed"));
  }
  return absl::UnavailableError(absl::StrCat(what, ": ", error.message()));
}

absl::StatusOr<Socket> AdoptSocket(asio::io_context& io, sys::UniqueFd fd) {
  sockaddr_storage address = {};
  socklen_t size = sizeof address;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return absl::InternalError("a connection without an address");
  }
  Socket socket(io);
  boost::system::error_code error;
  socket.assign(asio::generic::stream_protocol(address.ss_family, 0), fd.get(), error);
  if (error) return StreamStatus(error, "adopt a connection");
  (void)fd.Release();  // the socket's now
  return socket;
}

bool SocketGone(int socket) {
  pollfd p = {socket, POLLRDHUP, 0};
  return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

size_t SocketUnsent(int socket) {
  int bytes = 0;
  return ioctl(socket, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

SocketStream::SocketStream(asio::io_context& io, Socket socket, std::shared_ptr<void> slot)
    : io_(io), slot_(std::move(slot)), socket_(std::move(socket)), fd_(socket_.native_handle()) {}

void SocketStream::Read(char* buffer, size_t size, OnRead done) {
  socket_.async_read_some(asio::buffer(buffer, size),
                          [done = std::move(done)](const boost::system::error_code& error, size_t bytes) {
                            done(error == asio::error::eof ? absl::OkStatus() : StreamStatus(error, "read"), bytes);
                          });
}

void SocketStream::Write(absl::string_view first, absl::string_view second, OnDone done) {
  const std::array<asio::const_buffer, 2> both = {asio::buffer(first.data(), first.size()),
                                                  asio::buffer(second.data(), second.size())};
  asio::async_write(socket_, both, [done = std::move(done)](const boost::system::error_code& error, size_t) {
    done(StreamStatus(error, "write"));
  });
}

void SocketStream::AwaitWritable(OnDone done) {
  socket_.async_wait(Socket::wait_write, [done = std::move(done)](const boost::system::error_code& error) {
    done(StreamStatus(error, "wait"));
  });
}

void SocketStream::EndWrites() {
  if (fd_ >= 0) shutdown(fd_, SHUT_WR);
}

bool SocketStream::PeerGone() const { return fd_ < 0 || SocketGone(fd_); }

void SocketStream::Close() {
  fd_ = -1;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace berth::streaming
