// SPDY/3.1 (draft 3.1 of the SPDY protocol, framing layer) without sockets: bytes in, events out; calls in, bytes out.
// One connection each; not thread-safe.
//
// What it leaves out: server push, priorities (frames are sent in the order of the calls), credentials.
// What it adds: a peer's windows bind us once the peer has shown that it keeps them (by SETTINGS with an initial window
// or by a WINDOW_UPDATE). The clients of Kubernetes never send either, and would wait for ever.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::streaming::spdy {

using StreamId = uint32_t;
// Names in lower case, in the order of the wire. Several values of one name are separated by NUL, as on the wire.
using Headers = std::vector<std::pair<std::string, std::string>>;

// RST_STREAM, section 2.6.3.
enum class RstStatus : uint32_t {
  kProtocolError = 1,
  kInvalidStream = 2,
  kRefusedStream = 3,
  kUnsupportedVersion = 4,
  kCancel = 5,
  kInternalError = 6,
  kFlowControlError = 7,
  kStreamInUse = 8,
  kStreamAlreadyClosed = 9,
  kFrameTooLarge = 11,
};
// GOAWAY, section 2.6.6.
enum class GoAwayStatus : uint32_t { kOk = 0, kProtocolError = 1, kInternalError = 2 };

struct Limits {
  size_t streams = 1000;               // open at once; more are refused
  size_t header_block = 16 * 1024;     // bytes of one, decompressed
  size_t headers = 64;                 // pairs in one
  size_t control_frame = 32 * 1024;    // bytes of one
  uint32_t window = 256 * 1024;        // that we give each stream
  size_t pending_control = 64 * 1024;  // bytes of answers to control frames that the peer does not read
};

// Called from Receive. May call the session.
class Events {
 public:
  virtual ~Events() = default;
  virtual void OnStream(StreamId id, const Headers& headers, bool fin) = 0;  // the peer opened it
  virtual void OnReply(StreamId id, const Headers& headers, bool fin) = 0;   // to ours
  virtual void OnHeaders(StreamId id, const Headers& headers, bool fin) = 0;
  // Part of a frame, or all of it; valid during the call. `fin` with the last part.
  virtual void OnData(StreamId id, absl::string_view bytes, bool fin) = 0;
  virtual void OnReset(StreamId id, RstStatus status) = 0;  // by the peer, or by us because of what it did
  virtual void OnWindow(StreamId id) = 0;                   // SendWindow has grown
  virtual void OnPong(uint32_t id) = 0;
  virtual void OnGoAway(GoAwayStatus status) = 0;
};

class Session {
 public:
  enum class Role { kServer, kClient };
  Session(Role role, Limits limits, Events& events);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // What came from the peer, cut anywhere. An error is the peer's breach of the protocol: TakeOutput has a GOAWAY,
  // after which the connection is of no more use.
  absl::Status Receive(absl::string_view bytes);

  // Control frames to send, before anything else. Empty when there are none.
  std::string TakeOutput();
  bool has_output() const;

  // Opens a stream of ours. FailedPrecondition after a GOAWAY, ResourceExhausted when ids or streams run out.
  absl::StatusOr<StreamId> Open(const Headers& headers, bool fin);
  // To a stream of the peer's: before any data.
  void Reply(StreamId id, const Headers& headers, bool fin);

  // How many bytes of data may be sent now. 0 for a stream that is unknown or that we have ended.
  size_t SendWindow(StreamId id) const;
  // The header of a data frame of `bytes` <= SendWindow, which then has to follow. With `fin` the last of the stream.
  static constexpr size_t kDataHeader = 8;
  std::array<char, kDataHeader> Data(StreamId id, size_t bytes, bool fin);
  // `bytes` of what OnData delivered are no longer kept; opens the peer's window again.
  void Consumed(StreamId id, size_t bytes);
  // Nothing for a stream that is unknown. OnReset is not called.
  void Reset(StreamId id, RstStatus status);

  uint32_t Ping();  // its id, for OnPong
  void GoAway(GoAwayStatus status);

  size_t open_streams() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace berth::streaming::spdy
