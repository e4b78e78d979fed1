#include "tests/fuzz/spdy_host.h"

#include <algorithm>

#include "tests/fuzz/require.h"

namespace berth::streaming::spdy {

SpdyHost::SpdyHost(Session::Role role, uint32_t mood) : session_(role, kLimits, *this), role_(role), mood_(mood) {}

bool SpdyHost::Receive(absl::string_view bytes) {
  const absl::Status status = session_.Receive(bytes);
  REQUIRE(session_.open_streams() <= streams_.size());
  if (status.ok()) return true;
  REQUIRE(session_.Receive("x") == status);
  REQUIRE(!session_.Open({}, false).ok());
  Flush();
  REQUIRE(last_written_ == FrameType::kGoAway);
  return false;
}

void SpdyHost::Act(uint8_t what) {
  const StreamId id = Pick(what / 8);
  switch (what % 8) {
    case 0:
      return Send(id, what, what >= 128);
    case 1:
      return Send(id, 4000, false);
    case 2:
      return session_.Consumed(id, what);
    case 3:
      return Reset(id);
    case 4:
      return Flush();
    case 5:
      return Open(what >= 128);
    case 6:
      session_.Ping();
      return;
    case 7:
      if (what == 255) session_.GoAway(GoAwayStatus::kOk);
      return session_.Consumed(id, 1 << 20);
  }
}

// ---- what the session tells us

void SpdyHost::OnStream(StreamId id, const Headers& headers, bool fin) {
  REQUIRE((id % 2 == 1) == (role_ == Session::Role::kServer));
  REQUIRE(id > last_stream_ && headers.size() <= kLimits.headers);
  last_stream_ = id;
  streams_[id] = {.peer_ended = fin};
  if (Sometimes(8)) return Reset(id);
  if (Sometimes(16)) return;  // nor a reply
  streams_[id].replied = true;
  const bool end = Sometimes(8);
  session_.Reply(id, headers, end);
  if (end) WeEnded(id);
}

void SpdyHost::OnReply(StreamId id, const Headers& headers, bool fin) {
  REQUIRE(At(id).ours && !At(id).replied && headers.size() <= kLimits.headers);
  At(id).replied = true;
  if (fin) PeerEnded(id);
}

void SpdyHost::OnHeaders(StreamId id, const Headers& headers, bool fin) {
  REQUIRE((!At(id).ours || At(id).replied) && !At(id).peer_ended && headers.size() <= kLimits.headers);
  if (fin) PeerEnded(id);
  if (Sometimes(8)) Reset(id);
}

void SpdyHost::OnData(StreamId id, absl::string_view bytes, bool fin) {
  REQUIRE((!At(id).ours || At(id).replied) && !At(id).peer_ended && (fin || !bytes.empty()));
  if (fin) PeerEnded(id);
  if (Sometimes(2)) session_.Consumed(id, bytes.size());
  if (Sometimes(4)) Send(id, bytes.size(), fin);
  if (Sometimes(16)) Reset(id);
}

void SpdyHost::OnReset(StreamId id, RstStatus) {
  At(id);
  REQUIRE(session_.SendWindow(id) == 0);
  streams_.erase(id);
  if (Sometimes(4)) Open(false);
}

void SpdyHost::OnWindow(StreamId id) {
  REQUIRE(At(id).replied && session_.SendWindow(id) > 0);
  if (Sometimes(2)) Send(id, 4000, Sometimes(4));
}

void SpdyHost::OnPong(uint32_t id) { REQUIRE((id % 2 == 1) == (role_ == Session::Role::kClient)); }

void SpdyHost::OnGoAway(GoAwayStatus) {
  REQUIRE(!session_.Open({}, false).ok());
  if (Sometimes(4)) session_.GoAway(GoAwayStatus::kOk);
}

SpdyHost::Stream& SpdyHost::At(StreamId id) {
  const auto found = streams_.find(id);
  REQUIRE(found != streams_.end());
  return found->second;
}

void SpdyHost::PeerEnded(StreamId id) {
  At(id).peer_ended = true;
  if (At(id).we_ended) streams_.erase(id);
}

void SpdyHost::WeEnded(StreamId id) {
  At(id).we_ended = true;
  if (At(id).peer_ended) streams_.erase(id);
}

// ---- what we tell the session

void SpdyHost::Open(bool fin) {
  const auto id = session_.Open({{"streamtype", "data"}}, fin);
  if (id.ok()) streams_[*id] = {.ours = true, .we_ended = fin};
}

void SpdyHost::Send(StreamId id, size_t bytes, bool fin) {
  const size_t window = session_.SendWindow(id);
  REQUIRE(window <= kMaxLength);
  if (window == 0) return;
  REQUIRE(At(id).replied && !At(id).we_ended);
  bytes = std::min({bytes, window, size_t{4000}});
  Flush();
  const auto header = session_.Data(id, bytes, fin);
  Write(absl::string_view(header.data(), header.size()));
  Write(std::string(bytes, 'x'));
  if (fin) WeEnded(id);
}

void SpdyHost::Reset(StreamId id) {
  session_.Reset(id, RstStatus::kCancel);
  streams_.erase(id);
}

// ---- what the session tells the peer

void SpdyHost::Write(absl::string_view bytes) {
  for (;;) {
    const auto part = reader_.Next(bytes);
    REQUIRE(part.ok());
    if (!part->has_value()) return;
    const FrameReader::Part& frame = **part;
    if (frame.header.control) {
      last_written_ = frame.header.type;
      WriteControl(frame);
      continue;
    }
    REQUIRE(may_send_.contains(frame.header.stream));
    if (frame.last && frame.header.fin()) may_send_.erase(frame.header.stream);
  }
}

void SpdyHost::WriteControl(const FrameReader::Part& frame) {
  switch (frame.header.type) {
    case FrameType::kSynStream: {
      const auto syn = DecodeSynStream(frame.payload);
      REQUIRE(syn.ok() && syn->stream > last_opened_ && (syn->stream % 2 == 1) == (role_ == Session::Role::kClient));
      last_opened_ = syn->stream;
      if (!frame.header.fin()) may_send_.insert(syn->stream);
      return WriteHeaders(syn->headers);
    }
    case FrameType::kSynReply: {
      const auto reply = DecodeStreamHeaders(frame.payload);
      REQUIRE(reply.ok() && reply->stream <= last_stream_ && !may_send_.contains(reply->stream));
      if (!frame.header.fin()) may_send_.insert(reply->stream);
      return WriteHeaders(reply->headers);
    }
    case FrameType::kRstStream: {
      const auto reset = DecodeRstStream(frame.payload);
      REQUIRE(reset.ok() && reset->stream != 0 && reset->status != RstStatus{});
      may_send_.erase(reset->stream);
      return;
    }
    case FrameType::kWindowUpdate: {
      const auto update = DecodeWindowUpdate(frame.payload);
      REQUIRE(update.ok() && update->delta != 0);
      return;
    }
    case FrameType::kSettings:
      REQUIRE(DecodeSettings(frame.payload).ok());
      return;
    case FrameType::kPing:
      REQUIRE(DecodePing(frame.payload).ok());
      return;
    case FrameType::kGoAway:
      REQUIRE(DecodeGoAway(frame.payload)->last_good <= last_stream_);
      return;
    case FrameType::kHeaders:
      REQUIRE(!"we send none");
  }
}

void SpdyHost::WriteHeaders(absl::string_view compressed) {
  const auto block = inflater_.Inflate(compressed, 1 << 20);
  REQUIRE(block.ok() && ParseHeaders(*block, 1000).ok());
}

bool SpdyHost::Sometimes(uint32_t one_in) {
  mood_ = mood_ * 1664525 + 1013904223;
  return (mood_ >> 16) % one_in == 0;
}

StreamId SpdyHost::Pick(size_t which) const {
  if (streams_.empty()) return 7;
  return std::next(streams_.begin(), static_cast<ptrdiff_t>(which % streams_.size()))->first;
}

}  // namespace berth::streaming::spdy
