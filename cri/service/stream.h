// The stream of a call as the function that serves it sees it: blocking, for one thread at a time, without gRPC.
#pragma once

namespace berth::service {

// What a call answers with, message by message.
template <typename Message>
class Writer {
 public:
  virtual ~Writer() = default;
  // Hands a message over; blocks while the one before has not left yet, so that a slow reader slows the call and no
  // more than two messages are in memory. False when nobody listens any more: the call should end, with whatever
  // status.
  virtual bool Write(Message message) = 0;
};

// What a call is sent, message by message.
template <typename Message>
class Reader {
 public:
  virtual ~Reader() = default;
  // Blocks for the next message; one more is read ahead. False at the end of the stream, and when the caller is gone:
  // CallContext::cancelled tells them apart.
  virtual bool Read(Message* message) = 0;
};

}  // namespace berth::service
