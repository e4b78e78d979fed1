// What a session knows. session.cc has what we say, receive.cc what the peer says.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "cri/streaming/spdy/frame_reader.h"
#include "cri/streaming/spdy/header_block.h"
#include "cri/streaming/spdy/session.h"
#include "cri/streaming/spdy/windows.h"

namespace berth::streaming::spdy {

struct Session::State {
  struct Stream {
    bool ours = false;
    bool replied = false;
    bool we_ended = false;
    bool peer_ended = false;
    bool served = false;  // we have sent data
    SendingWindow sending;
    ReceivingWindow receiving;
  };
  using Streams = std::map<StreamId, Stream>;

  State(Role role, Limits limits, Events& events);

  absl::Status Receive(absl::string_view bytes);
  absl::Status Fail(const absl::Status& why);

  // Those that return a status return the session's errors.
  absl::Status OnControl(const FrameReader::Part& frame);
  absl::Status OnSynStream(const SynStream& frame, uint8_t flags);
  absl::Status OnStreamHeaders(FrameType type, const StreamHeaders& frame, bool fin);
  absl::Status OnRstStream(const RstStream& frame);
  absl::Status OnSettings(const std::vector<Setting>& settings);
  absl::Status ChangeInitialWindow(uint32_t size);
  void OnPing(uint32_t id);
  void OnGoAway(const GoAwayFrame& frame);
  absl::Status OnWindowUpdate(const WindowUpdate& frame);
  // Tells of it, unless nothing can be sent all the same. The stream need not be there any more.
  void WindowHasGrown(StreamId id);
  absl::Status OnData(const FrameReader::Part& part);
  // Whether `part` belongs to a stream; answers it if not, when it is the first of its frame.
  bool ForAStream(const FrameReader::Part& part);
  absl::StatusOr<Headers> TakeHeaders(absl::string_view compressed, std::optional<RstStatus>& fault);

  bool FromPeer(StreamId id) const { return (id % 2 == 1) == (role == Role::kServer); }
  std::vector<StreamId> Ids() const;  // events may change the streams while they are walked
  size_t SendWindow(const Stream& stream) const;
  // Answers a frame for a stream that is not there, unless the peer may not know that yet.
  void Stray(StreamId id);
  // The stream has done what it may not: it ends, and the peer and we are told.
  void StreamError(StreamId id, RstStatus status);
  void SendReset(StreamId id, RstStatus status);
  void Remove(Streams::iterator stream);
  void RemoveIfEnded(StreamId id);

  const Role role;
  const Limits limits;
  Events& events;

  FrameReader reader;
  HeaderInflater inflater;
  HeaderDeflater deflater;
  absl::Status failed;

  Streams streams;
  size_t peer_streams = 0;     // of `streams`, opened by the peer
  StreamId next_id;            // of ours
  StreamId last_seen = 0;      // of the peer's
  StreamId last_accepted = 0;  // of those, not refused
  // Of streams that we have reset and that the peer may not know of yet. What comes for them is dropped. Never more
  // than kMaxDropped: the oldest are forgotten, and answered with one more reset.
  std::set<StreamId> dropped;
  size_t futile = 0;  // see Limits

  bool keeps_windows = false;                // the peer has shown it
  uint32_t initial_window = kDefaultWindow;  // of the peer's
  int window_changes = 0;
  SendingWindow sending{kDefaultWindow};  // the session's
  ReceivingWindow receiving;
  uint32_t peer_max_streams = kMax31;  // of ours

  uint32_t next_ping;
  uint32_t last_pong = 0;
  bool sent_goaway = false, received_goaway = false;

  std::string output;
  size_t opening = 0;      // bytes of `output` that answer nothing
  std::set<StreamId> due;  // streams whose window the peer is to be told of
};

}  // namespace berth::streaming::spdy
