#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "cri/streaming/tls.h"

namespace berth::streaming {
namespace asio = boost::asio;
using Socket = asio::generic::stream_protocol::socket;
namespace {

constexpr size_t kRecord = 16 * 1024;  // what one TLS record holds at most

absl::Status Closed() { return absl::CancelledError("the connection was closed"); }

}  // namespace

TlsStream::TlsStream(asio::io_context& io, Socket socket, const std::shared_ptr<SSL_CTX>& context,
                     std::shared_ptr<void> slot)
    : io_(io),
      slot_(std::move(slot)),
      socket_(std::move(socket)),
      ssl_(SSL_new(context.get())),
      fd_(socket_.native_handle()) {
  if (!ssl_ || SSL_set_fd(ssl_.get(), fd_) != 1) std::abort();  // no memory
  SSL_set_accept_state(ssl_.get());
}

// A call of OpenSSL's is tried first. When it has to wait for the socket, the wait keeps `done`, and with it the
// stream.
template <typename Again, typename Done>
bool TlsStream::Settle(int result, absl::string_view what, Again again, Done fail) {
  if (result > 0) return true;
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
    socket_.async_wait(error == SSL_ERROR_WANT_READ ? Socket::wait_read : Socket::wait_write,
                       [again = std::move(again), fail](const boost::system::error_code& failed) {
                         failed ? fail(Closed()) : again();
                       });
    return false;
  }
  if (error == SSL_ERROR_ZERO_RETURN) {
    fail(absl::OkStatus());
    return false;
  }
  broken_ = true;
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  fail(absl::UnavailableError(absl::StrCat(what, ": ", reason != nullptr ? reason : "the connection is broken")));
  return false;
}

void TlsStream::Handshake(OnDone done) {
  asio::post(io_, [this, done = std::move(done)] { TryHandshake(done); });
}

void TlsStream::TryHandshake(OnDone done) {
  if (!open_) return done(Closed());
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  const auto fail = [done](const absl::Status& status) {
    done(status.ok() ? absl::UnavailableError("TLS handshake: the client has ended it") : status);
  };
  if (Settle(
          result, "TLS handshake", [this, done] { TryHandshake(done); }, fail))
    done(absl::OkStatus());
}

void TlsStream::Read(char* buffer, size_t size, OnRead done) {
  asio::post(io_, [this, buffer, size, done = std::move(done)] { TryRead(buffer, size, done); });
}

void TlsStream::TryRead(char* buffer, size_t size, OnRead done) {
  if (!open_) return done(Closed(), 0);
  ERR_clear_error();
  const int result = SSL_read(ssl_.get(), buffer, static_cast<int>(std::min<size_t>(size, 1 << 30)));
  const auto fail = [done](const absl::Status& status) { done(status, 0); };
  if (Settle(
          result, "read", [this, buffer, size, done] { TryRead(buffer, size, done); }, fail)) {
    done(absl::OkStatus(), static_cast<size_t>(result));
  }
}

void TlsStream::Write(absl::string_view first, absl::string_view second, OnDone done) {
  // One record for a short header and what it is the header of.
  if (!first.empty() && first.size() < kRecord && !second.empty()) {
    const size_t more = std::min(second.size(), kRecord - first.size());
    joined_.assign(first.data(), first.size());
    joined_.append(second.data(), more);
    first = joined_;
    second.remove_prefix(more);
  }
  asio::post(io_, [this, first, second, done = std::move(done)] { TryWrite(first, second, done); });
}

void TlsStream::TryWrite(absl::string_view first, absl::string_view second, OnDone done) {
  for (writing_ = true; !first.empty() || !second.empty();) {
    if (!open_) return done(Closed());
    if (first.empty()) std::swap(first, second);
    ERR_clear_error();
    const int result = SSL_write(ssl_.get(), first.data(), static_cast<int>(std::min<size_t>(first.size(), 1 << 30)));
    const auto fail = [done](const absl::Status& status) {
      done(status.ok() ? absl::UnavailableError("write: the peer has ended the connection") : status);
    };
    if (!Settle(
            result, "write", [this, first, second, done] { TryWrite(first, second, done); }, fail))
      return;
    first.remove_prefix(static_cast<size_t>(result));
  }
  writing_ = false;
  done(absl::OkStatus());
}

void TlsStream::SayEnd() {
  if (broken_ || writing_ || !SSL_is_init_finished(ssl_.get())) return;
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
}

void TlsStream::EndWrites() {
  if (!open_) return;
  SayEnd();
  shutdown(fd_, SHUT_WR);
}

void TlsStream::Close() {
  if (!open_) return;
  SayEnd();
  open_ = false;
  boost::system::error_code ignored;
  socket_.close(ignored);
}

}  // namespace berth::streaming
