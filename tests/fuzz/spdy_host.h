// A session whose events are answered as the input says, and watched: what it tells us and the peer must make sense.
#pragma once

#include <map>
#include <set>
#include <string>

#include "cri/streaming/spdy/frame_reader.h"
#include "cri/streaming/spdy/header_block.h"
#include "cri/streaming/spdy/session.h"

namespace berth::streaming::spdy {

class SpdyHost : public Events {
 public:
  // `mood` decides what is done in events.
  SpdyHost(Session::Role role, uint32_t mood);

  static constexpr Limits kLimits = {.streams = 20,
                                     .futile_streams = 40,
                                     .header_block = 2048,
                                     .headers = 8,
                                     .control_frame = 4096,
                                     .window = 1000,
                                     .session_window = 70000,
                                     .pending_control = 4096};

  // False when the session is over.
  bool Receive(absl::string_view bytes);
  // One of the things that the owner of a session does.
  void Act(uint8_t what);

  void OnStream(StreamId id, const Headers& headers, bool fin) override;
  void OnReply(StreamId id, const Headers& headers, bool fin) override;
  void OnHeaders(StreamId id, const Headers& headers, bool fin) override;
  void OnData(StreamId id, absl::string_view bytes, bool fin) override;
  void OnReset(StreamId id, RstStatus status) override;
  void OnWindow(StreamId id) override;
  void OnPong(uint32_t id) override;
  void OnGoAway(GoAwayStatus status) override;

 private:
  // What we know of a stream: at least as long as the session does.
  struct Stream {
    bool ours = false, replied = false, we_ended = false, peer_ended = false;
  };

  Stream& At(StreamId id);
  void PeerEnded(StreamId id);
  void WeEnded(StreamId id);
  void Open(bool fin);
  void Send(StreamId id, size_t bytes, bool fin);
  void Reset(StreamId id);
  void Flush() { Write(session_.TakeOutput()); }
  // Sees that the peer can make sense of it.
  void Write(absl::string_view bytes);
  void WriteControl(const FrameReader::Part& frame);
  void WriteHeaders(absl::string_view compressed);
  bool Sometimes(uint32_t one_in);
  StreamId Pick(size_t which) const;

  Session session_;
  const Session::Role role_;
  uint32_t mood_;
  std::map<StreamId, Stream> streams_;
  StreamId last_stream_ = 0;

  // Of what we have written.
  FrameReader reader_{kMaxLength};
  HeaderInflater inflater_;
  std::set<StreamId> may_send_;
  FrameType last_written_{};
  StreamId last_opened_ = 0;
};

}  // namespace berth::streaming::spdy
