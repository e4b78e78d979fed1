// The client's end of a SPDY/3.1 connection, whose streams are joined to local descriptors: a poll(2) loop that its
// owner turns step by step. Windows bind both ways: what a descriptor does not take is not asked for, and what the
// server does not take is not read. Not thread-safe.
#pragma once

#include <poll.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "cli/stream/local_io.h"
#include "cri/streaming/spdy/session.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli::stream {

namespace spdy = ::berth::streaming::spdy;

// What a stream is joined to. The descriptors are the owner's, and are used until the stream is dropped.
struct Joint {
  int source = -1;                                       // what is read from it is sent, its end ends our half
  int sink = -1;                                         // gets what arrives; -1: that is kept as text
  std::function<std::string(absl::string_view)> filter;  // what is sent instead of what was read
};

// How far a stream is; changes in Step alone.
struct StreamState {
  bool replied = false;       // the server has taken it
  bool sent_all = false;      // our half has ended
  bool received_all = false;  // the server's half has ended, and its bytes are in the sink (or could not be written)
  bool reset = false;         // by the server, or because the connection has ended before the stream
  absl::Status source_error, sink_error;
  std::string text;  // what arrived without a sink, at most kMaxText
};

class SpdyClient final : spdy::Events {
 public:
  static constexpr size_t kMaxText = 64 * 1024;

  // A connected socket, and what was read from it beyond the handshake.
  SpdyClient(sys::UniqueFd socket, std::string early);
  ~SpdyClient() override;

  absl::StatusOr<spdy::StreamId> Open(const spdy::Headers& headers, Joint joint = {});
  // Of a stream that Open gave and Drop has not taken.
  const StreamState& state(spdy::StreamId id) const { return streams_.at(id).state; }
  void Send(spdy::StreamId id, absl::string_view bytes);  // few, for a stream without a source
  void End(spdy::StreamId id);                            // after what is still to be sent
  void Drop(spdy::StreamId id);                           // resets it, unless both halves have ended

  // Waits until something can be done, or one of `also` is ready (their revents are set), or until `deadline`; does it.
  // An error: the server broke the protocol, or poll(2) failed.
  absl::Status Step(absl::Span<pollfd> also, absl::Time deadline);

  // The server has ended the connection. What had arrived is still written by further steps.
  bool closed() const { return closed_; }
  // Nothing can be opened any more.
  bool leaving() const { return closed_ || leaving_; }

 private:
  struct Stream {
    StreamState state;
    Joint joint;
    FdKind source_kind = FdKind::kOther, sink_kind = FdKind::kOther;
    std::string unsent;         // read, but not framed yet
    std::string arrived;        // not written yet, from `written` on
    size_t written = 0;         // of `arrived`
    size_t owed = 0;            // taken, and the server was not told
    bool source_ended = false;  // nothing comes behind `unsent`
    bool peer_ended = false;    // nothing comes behind `arrived`
    bool hung_up = false;       // the source, which says so again and again
    size_t source_at = 0;       // in polls_; 0 for none

    size_t waiting() const { return arrived.size() - written; }
  };

  void OnStream(spdy::StreamId id, const spdy::Headers& headers, bool fin) override;
  void OnReply(spdy::StreamId id, const spdy::Headers& headers, bool fin) override;
  void OnHeaders(spdy::StreamId id, const spdy::Headers& headers, bool fin) override;
  void OnData(spdy::StreamId id, absl::string_view bytes, bool fin) override;
  void OnReset(spdy::StreamId id, spdy::RstStatus status) override;
  void OnWindow(spdy::StreamId) override {}
  void OnPong(uint32_t) override {}
  void OnGoAway(spdy::GoAwayStatus) override { leaving_ = true; }

  Stream* Find(spdy::StreamId id);
  static bool MayRead(const Stream& stream);                  // there may be something in its source yet
  bool Wants(spdy::StreamId id, const Stream& stream) const;  // and it can be sent now
  void CollectPolls(absl::Span<pollfd> also);
  void ReadSource(spdy::StreamId id, Stream& stream, short events);
  void WriteSink(spdy::StreamId id, Stream& stream);
  void Took(spdy::StreamId id, Stream& stream, size_t bytes);
  void Frame(spdy::StreamId id, Stream& stream);
  absl::Status ReadSocket();
  void WriteSocket();
  void Lose();

  sys::UniqueFd socket_;
  std::string early_;
  spdy::Session session_;
  std::map<spdy::StreamId, Stream> streams_;
  std::string out_;    // framed, from `sent_` on not the kernel's yet
  size_t sent_ = 0;    // of `out_`
  bool mute_ = false;  // the server reads no more
  bool closed_ = false, leaving_ = false;
  std::vector<pollfd> polls_;
  std::vector<char> buffer_;
};

}  // namespace berth::cli::stream
