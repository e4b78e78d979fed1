// A connection as a stream of bytes: TCP, a unix socket, TLS over one, or a WebSocket that carries one.
// Lives on the thread of its io_context.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <functional>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::streaming {

class ByteStream {
 public:
  // Callbacks run later, never inside the call, and also when the stream is closed meanwhile. Whoever waits keeps the
  // stream alive.
  using OnRead = std::function<void(absl::Status, size_t)>;  // OK with 0 bytes: the peer has ended the stream
  using OnDone = std::function<void(absl::Status)>;

  virtual ~ByteStream() = default;
  virtual boost::asio::io_context& context() = 0;
  // At least one byte, at most `size`. One at a time.
  virtual void Read(char* buffer, size_t size, OnRead done) = 0;
  // All of both parts, in order; either may be empty. One at a time.
  virtual void Write(absl::string_view first, absl::string_view second, OnDone done) = 0;
  // The socket, if what is written to it is all that the peer gets (splice(2)); -1 otherwise.
  virtual int splice_target() const { return -1; }
  // Only with a splice_target(): calls `done` when it takes bytes. One at a time, and not beside a Write.
  virtual void AwaitWritable(OnDone /*done*/) {}
  // We write no more, and the peer is to read the end of the stream; what it sends can still be read. After the last
  // `done`.
  virtual void EndWrites() {}
  // Whether the peer has closed, though what it sent before has not been read yet: for who does not read just now.
  virtual bool PeerGone() const { return false; }
  // Bytes that were written and that the peer's machine has not taken; 0 once the stream is closed.
  virtual size_t Unsent() const { return 0; }
  // Ends both directions at once; what waits is called with Cancelled.
  virtual void Close() = 0;
};

}  // namespace berth::streaming
