// TLS over a connected socket, and the files of its certificate. The process has to ignore SIGPIPE.
#pragma once

#include <openssl/ssl.h>
#include <sys/stat.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cri/streaming/byte_stream.h"
#include "cri/streaming/socket_stream.h"

namespace berth::streaming {

// Thread-safe.
class TlsFiles {
 public:
  struct Paths {
    std::string cert, key;  // PEM; `cert` may have its chain behind it
    std::string client_ca;  // clients must show a certificate of it; empty: none is asked for
  };
  // InvalidArgument names the option and its file.
  static absl::StatusOr<std::unique_ptr<TlsFiles>> Load(Paths paths);

  // For the next connection. Looks at the files at most once a second; when they have changed and are of no use, the
  // ones before stay, and it is logged once.
  std::shared_ptr<SSL_CTX> Current();

 private:
  // Whether a file is another one, or was written to: rename and write are seen alike.
  struct Stamp {
    ino_t inode = 0;
    off_t size = 0;
    timespec modified = {}, changed = {};
  };

  explicit TlsFiles(Paths paths) : paths_(std::move(paths)) {}
  std::vector<Stamp> StampFiles() const;
  absl::StatusOr<std::shared_ptr<SSL_CTX>> Read() const;

  const Paths paths_;
  absl::Mutex mutex_;
  std::shared_ptr<SSL_CTX> context_ ABSL_GUARDED_BY(mutex_);
  std::vector<Stamp> stamps_ ABSL_GUARDED_BY(mutex_);  // of what was read last, good or not
  std::chrono::steady_clock::time_point next_look_ ABSL_GUARDED_BY(mutex_);
};

class TlsStream : public ByteStream {
 public:
  // `slot` is released when the stream is: it counts connections.
  TlsStream(boost::asio::io_context& io, boost::asio::generic::stream_protocol::socket socket,
            const std::shared_ptr<SSL_CTX>& context, std::shared_ptr<void> slot);

  // As the server; before anything else.
  void Handshake(OnDone done);

  boost::asio::io_context& context() override { return io_; }
  void Read(char* buffer, size_t size, OnRead done) override;
  void Write(absl::string_view first, absl::string_view second, OnDone done) override;
  void EndWrites() override;
  bool PeerGone() const override { return !open_ || SocketGone(fd_); }
  size_t Unsent() const override { return open_ ? SocketUnsent(fd_) : 0; }
  void Close() override;

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };

  // Tells the peer that nothing was cut off, if that can be said now.
  void SayEnd();
  void TryHandshake(OnDone done);
  void TryRead(char* buffer, size_t size, OnRead done);
  void TryWrite(absl::string_view first, absl::string_view second, OnDone done);
  // What to do about the result of an SSL call: waits and calls `again`, or tells the error. True: it succeeded.
  template <typename Again, typename Done>
  bool Settle(int result, absl::string_view what, Again again, Done fail);

  boost::asio::io_context& io_;
  const std::shared_ptr<void> slot_;
  boost::asio::generic::stream_protocol::socket socket_;
  std::unique_ptr<SSL, Free> ssl_;
  std::string joined_;  // the parts of a Write
  const int fd_;
  bool open_ = true, broken_ = false, writing_ = false;
};

}  // namespace berth::streaming
