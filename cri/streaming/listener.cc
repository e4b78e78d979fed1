#include "cri/streaming/listener.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "runtime/sys/unix_socket.h"

namespace berth::streaming {
namespace asio = boost::asio;
namespace {

// Descriptors or memory are short (EMFILE, ENFILE, ENOBUFS): the connection stays in the queue, and asking again at
// once would only burn a processor.
constexpr auto kRest = std::chrono::milliseconds(200);
constexpr int kAtOnce = 16;  // others on the thread have their turn in between

}  // namespace

Listener::Listener(asio::io_context& io, sys::UniqueFd socket, OnConnection on_connection)
    : socket_(io, socket.Release()), rest_(io), on_connection_(std::move(on_connection)) {}

void Listener::Start() { Wait(); }

void Listener::Stop() {
  boost::system::error_code ignored;
  socket_.close(ignored);
  rest_.cancel();
}

void Listener::Wait() {
  socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& error) {
                       if (!error && self->socket_.is_open()) self->Accept();
                     });
}

void Listener::Accept() {
  for (int i = 0; i < kAtOnce; ++i) {
    auto connection = sys::AcceptConnection(socket_.native_handle());
    if (absl::IsNotFound(connection.status())) break;
    if (!connection.ok()) return Rest(connection.status());
    resting_ = false;
    on_connection_(std::move(*connection));
  }
  Wait();
}

void Listener::Rest(const absl::Status& why) {
  if (!std::exchange(resting_, true)) spdlog::warn("streaming takes no connection for now: {}", why.ToString());
  rest_.expires_after(kRest);
  rest_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && self->socket_.is_open()) self->Wait();
  });
}

}  // namespace berth::streaming
