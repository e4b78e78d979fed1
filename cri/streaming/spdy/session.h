// SPDY/3.1 (draft 3.1 of the SPDY protocol, framing layer) without sockets: bytes in, events out; calls in, bytes out.
// One connection each; not thread-safe.
//
// What it leaves out: server push, priorities (frames are sent in the order of the calls), credentials.
// What it adds: a peer's windows bind us once the peer has shown that it keeps them (by SETTINGS with an initial window
// or by a WINDOW_UPDATE). The clients of Kubernetes never send either, and would wait for ever.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "cri/streaming/spdy/types.h"
#include "runtime/base/status.h"

namespace berth::streaming::spdy {

// Called from Receive. May call the session, but not Receive, and must not destroy it.
class Events {
 public:
  virtual ~Events() = default;
  virtual void OnStream(StreamId id, const Headers& headers, bool fin) = 0;  // the peer opened it
  virtual void OnReply(StreamId id, const Headers& headers, bool fin) = 0;   // to ours; OnWindow follows
  virtual void OnHeaders(StreamId id, const Headers& headers, bool fin) = 0;
  // Part of a frame, or all of it; valid during the call. `fin` with the last part.
  virtual void OnData(StreamId id, absl::string_view bytes, bool fin) = 0;
  // By the peer, or by us because of what it did. The session knows nothing of the stream any more.
  virtual void OnReset(StreamId id, RstStatus status) = 0;
  virtual void OnWindow(StreamId id) = 0;  // SendWindow has grown, and is not 0
  virtual void OnPong(uint32_t id) = 0;
  // The peer opens no more streams and takes no more of ours. Those it has not taken are reset (kRefusedStream).
  virtual void OnGoAway(GoAwayStatus status) = 0;
};

class Session {
 public:
  enum class Role { kServer, kClient };
  // `events` outlives it. There is output at once: our SETTINGS.
  Session(Role role, Limits limits, Events& events);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // What came from the peer, cut anywhere. An error is the peer's breach of the protocol: TakeOutput has a GOAWAY,
  // after which the connection is of no more use.
  absl::Status Receive(absl::string_view bytes);

  // Control frames to send, before anything else. Empty when there are none. To be taken when they can be written, not
  // earlier: what a peer that does not read makes us say is bounded here.
  std::string TakeOutput();
  bool has_output() const;

  // Opens a stream of ours. FailedPrecondition after a GOAWAY, ResourceExhausted when ids or streams run out.
  absl::StatusOr<StreamId> Open(const Headers& headers, bool fin);
  // To a stream of the peer's: before any data. Nothing for any other stream, or a second time.
  void Reply(StreamId id, const Headers& headers, bool fin);

  // How many bytes of data may be sent now. 0 for a stream that is unknown or that we have ended; and before the reply,
  // since Kubernetes' programs drop data that comes sooner (a `fin` as well).
  size_t SendWindow(StreamId id) const;
  // The header of a data frame of `bytes` <= SendWindow, which then has to follow. With `fin` the last of the stream.
  static constexpr size_t kDataHeader = 8;
  std::array<char, kDataHeader> Data(StreamId id, size_t bytes, bool fin);
  // `bytes` of what OnData delivered are no longer kept; opens the peer's window again. Nothing for a stream that is
  // unknown: what it still held counts as consumed.
  void Consumed(StreamId id, size_t bytes);
  // Nothing for a stream that is unknown. OnReset is not called.
  void Reset(StreamId id, RstStatus status);

  uint32_t Ping();  // its id, for OnPong
  // We open no more streams and take no more; those that are open go on. A client of Kubernetes reads nothing that
  // comes after it.
  void GoAway(GoAwayStatus status);

  size_t open_streams() const;
  bool peer_keeps_windows() const;  // has shown it so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::streaming::spdy
