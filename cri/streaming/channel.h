// A client's connection as the sessions see it: channels of bytes, whatever protocol carries them.
// Everything here lives on the thread of the connection's io_context: no call, no callback from another one.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::streaming {

// One stream of a connection, both ways. Owned by whoever holds a reference; once its connection is gone, all that it
// does is to fail.
class Channel {
 public:
  // OK when the bytes are the kernel's, or an error when they never will be. Runs later, never inside the call; perhaps
  // not at all once the connection has ended.
  using Done = std::function<void(absl::Status)>;

  // What the client sends.
  class Reader {
   public:
    virtual ~Reader() = default;
    virtual void OnBytes(absl::string_view bytes) = 0;  // valid during the call; all of them are taken
    virtual void OnEnd() = 0;                           // the client sends no more; it may still read
    virtual void OnReset() = 0;  // the client has given the channel up, or the connection is gone
  };

  virtual ~Channel() = default;

  // What came before is delivered now, inside the call. nullptr: what comes is dropped. The reader is never called
  // after a Listen(nullptr) has returned.
  virtual void Listen(Reader* reader) = 0;
  // `bytes` of what OnBytes delivered have been passed on. A connection with too much that has not been reads no more
  // until some is: memory is bounded, and a client cannot be faster than what it writes to.
  virtual void Consumed(size_t bytes) = 0;

  // One Send or SendFrom at a time; `bytes` stay valid until `done`. At most kMaxSend.
  virtual void Send(absl::string_view bytes, Done done) = 0;
  // The same for the first `bytes` of what waits in a pipe, which nobody else reads from, without copying it. Only when
  // can_send_from(). The pipe stays open until `done`, Reset, or the connection's end.
  virtual bool can_send_from() const { return false; }
  virtual void SendFrom(int pipe, size_t bytes, Done done) = 0;
  // No more is sent; the client may still send. After the last `done`.
  virtual void End() = 0;
  // Neither side sends any more.
  virtual void Reset() = 0;

  static constexpr size_t kMaxSend = 256 * 1024;
};

class Connection {
 public:
  virtual ~Connection() = default;
  // Sends what was given to it and closes, kLingerSeconds after the client's machine has taken all of it if the client
  // does not close sooner. What does not get as far as the kernel within that time is lost.
  virtual void Close() = 0;
  // Once, when the connection has ended for whatever reason, before anything that it held is released. Not inside a
  // call.
  virtual void OnClosed(std::function<void()> closed) = 0;

  static constexpr int kLingerSeconds = 10;
};

}  // namespace berth::streaming
