#include <utility>

#include "cri/streaming/spdy/session_state.h"

namespace berth::streaming::spdy {

absl::Status Session::State::Receive(absl::string_view bytes) {
  while (failed.ok()) {
    const auto part = reader.Next(bytes);
    if (!part.ok()) return Fail(part.status());
    if (!part->has_value()) return absl::OkStatus();
    const absl::Status status = (*part)->header.control ? OnControl(**part) : OnData(**part);
    if (!status.ok()) return Fail(status);
    if (output.size() - opening > limits.pending_control) {
      return Fail(absl::ResourceExhaustedError("the peer does not read what it is answered"));
    }
  }
  return failed;
}

absl::Status Session::State::Fail(const absl::Status& why) {
  failed = why;
  sent_goaway = true;
  AppendGoAway(output, {.last_good = last_accepted, .status = GoAwayStatus::kProtocolError});
  return failed;
}

absl::Status Session::State::OnControl(const FrameReader::Part& frame) {
  switch (frame.header.type) {
    case FrameType::kSynStream: {
      ASSIGN_OR_RETURN(const SynStream syn, DecodeSynStream(frame.payload));
      return OnSynStream(syn, frame.header.flags);
    }
    case FrameType::kSynReply:
    case FrameType::kHeaders: {
      ASSIGN_OR_RETURN(const StreamHeaders headers, DecodeStreamHeaders(frame.payload));
      return OnStreamHeaders(frame.header.type, headers, frame.header.fin());
    }
    case FrameType::kRstStream: {
      ASSIGN_OR_RETURN(const RstStream reset, DecodeRstStream(frame.payload));
      return OnRstStream(reset);
    }
    case FrameType::kSettings: {
      ASSIGN_OR_RETURN(const auto settings, DecodeSettings(frame.payload));
      return OnSettings(settings);
    }
    case FrameType::kPing: {
      ASSIGN_OR_RETURN(const uint32_t id, DecodePing(frame.payload));
      OnPing(id);
      return absl::OkStatus();
    }
    case FrameType::kGoAway: {
      ASSIGN_OR_RETURN(const GoAwayFrame goaway, DecodeGoAway(frame.payload));
      OnGoAway(goaway);
      return absl::OkStatus();
    }
    case FrameType::kWindowUpdate: {
      ASSIGN_OR_RETURN(const WindowUpdate update, DecodeWindowUpdate(frame.payload));
      return OnWindowUpdate(update);
    }
  }
  return absl::OkStatus();
}

// Of frames that are refused, too: the peer's next block builds on this one. `fault` is set when it is the stream's.
absl::StatusOr<Headers> Session::State::TakeHeaders(absl::string_view compressed, std::optional<RstStatus>& fault) {
  ASSIGN_OR_RETURN(const std::string block, inflater.Inflate(compressed, limits.header_block));
  auto headers = ParseHeaders(block, limits.headers);
  if (absl::IsInvalidArgument(headers.status())) {
    fault = RstStatus::kProtocolError;
  } else if (absl::IsResourceExhausted(headers.status())) {
    fault = RstStatus::kFrameTooLarge;
  } else {
    return headers;
  }
  return Headers();
}

absl::Status Session::State::OnSynStream(const SynStream& frame, uint8_t flags) {
  const StreamId id = frame.stream;
  const bool fin = (flags & kFin) != 0;
  std::optional<RstStatus> fault;
  ASSIGN_OR_RETURN(const Headers headers, TakeHeaders(frame.headers, fault), "stream ", id);
  if (id == 0 || !FromPeer(id)) return absl::InvalidArgumentError(absl::StrCat("the peer opened stream ", id));
  if (id < last_seen) return absl::InvalidArgumentError(absl::StrCat("stream ", id, " came after ", last_seen));
  if (id == last_seen) {
    StreamError(id, RstStatus::kProtocolError);
    return absl::OkStatus();
  }
  last_seen = id;
  if (sent_goaway) return absl::OkStatus();
  if (peer_streams >= limits.streams) fault = RstStatus::kRefusedStream;
  if (fault) {
    SendReset(id, *fault);
    return absl::OkStatus();
  }
  last_accepted = id;
  ++peer_streams;
  streams.emplace(id, Stream{.we_ended = (flags & kUnidirectional) != 0,
                             .peer_ended = fin,
                             .sending = SendingWindow(initial_window),
                             .receiving = ReceivingWindow(limits.window)});
  events.OnStream(id, headers, fin);
  RemoveIfEnded(id);
  return absl::OkStatus();
}

absl::Status Session::State::OnStreamHeaders(FrameType type, const StreamHeaders& frame, bool fin) {
  const StreamId id = frame.stream;
  std::optional<RstStatus> fault;
  ASSIGN_OR_RETURN(const Headers headers, TakeHeaders(frame.headers, fault), "stream ", id);
  if (id == 0) return absl::InvalidArgumentError("headers for stream 0");
  const auto found = streams.find(id);
  if (found == streams.end()) {
    Stray(id);
    if (fin) dropped.erase(id);
    return absl::OkStatus();
  }
  Stream& stream = found->second;
  const bool reply = type == FrameType::kSynReply;
  if (stream.peer_ended) {
    fault = RstStatus::kStreamAlreadyClosed;
  } else if (reply ? !stream.ours : stream.ours && !stream.replied) {
    fault = RstStatus::kProtocolError;
  } else if (reply && stream.replied) {
    fault = RstStatus::kStreamInUse;
  }
  if (fault) {
    StreamError(id, *fault);
    return absl::OkStatus();
  }
  stream.peer_ended = fin;
  if (reply) {
    stream.replied = true;
    events.OnReply(id, headers, fin);
    WindowHasGrown(id);
  } else {
    events.OnHeaders(id, headers, fin);
  }
  RemoveIfEnded(id);
  return absl::OkStatus();
}

absl::Status Session::State::OnRstStream(const RstStream& frame) {
  dropped.erase(frame.stream);
  const auto found = streams.find(frame.stream);
  if (found == streams.end()) return absl::OkStatus();
  if (!found->second.ours && !found->second.served && ++futile > limits.futile_streams) {
    return absl::ResourceExhaustedError("the peer opens streams only to reset them");
  }
  Remove(found);
  events.OnReset(frame.stream, frame.status);
  return absl::OkStatus();
}

absl::Status Session::State::OnSettings(const std::vector<Setting>& settings) {
  std::set<uint32_t> seen;  // of one that comes twice, the first counts
  for (const Setting& setting : settings) {
    if (!seen.insert(setting.id).second) continue;
    if (setting.id == kMaxConcurrentStreams) peer_max_streams = setting.value;
    if (setting.id == kInitialWindow) RETURN_IF_ERROR(ChangeInitialWindow(setting.value));
  }
  return absl::OkStatus();
}

absl::Status Session::State::ChangeInitialWindow(uint32_t size) {
  constexpr int kMaxChanges = 100;  // each is work for every stream
  if (size > kMax31) return absl::InvalidArgumentError(absl::StrCat("an initial window of ", size, " bytes"));
  keeps_windows = true;
  const int64_t by = int64_t{size} - int64_t{initial_window};
  initial_window = size;
  if (by == 0) return absl::OkStatus();
  if (++window_changes > kMaxChanges) {
    return absl::ResourceExhaustedError("the peer changes its initial window again and again");
  }
  for (const StreamId id : Ids()) {
    const auto found = streams.find(id);
    if (found == streams.end()) continue;
    if (!found->second.sending.Grow(by)) {
      StreamError(id, RstStatus::kFlowControlError);
    } else if (by > 0) {
      WindowHasGrown(id);
    }
  }
  return absl::OkStatus();
}

void Session::State::OnPing(uint32_t id) {
  const bool ours = (id % 2 == 1) == (role == Role::kClient);
  if (!ours) {
    AppendPing(output, id);
  } else if (id > last_pong && id < next_ping) {
    last_pong = id;
    events.OnPong(id);
  }
}

void Session::State::OnGoAway(const GoAwayFrame& frame) {
  received_goaway = true;
  for (const StreamId id : Ids()) {
    const auto found = streams.find(id);
    if (found == streams.end() || !found->second.ours || id <= frame.last_good) continue;
    Remove(found);
    events.OnReset(id, RstStatus::kRefusedStream);
  }
  events.OnGoAway(frame.status);
}

absl::Status Session::State::OnWindowUpdate(const WindowUpdate& frame) {
  keeps_windows = true;
  if (frame.stream == 0) {
    const bool blocked = sending.left() <= 0;
    if (frame.delta == 0) return absl::InvalidArgumentError("the session's window grows by nothing");
    if (!sending.Grow(frame.delta)) return absl::InvalidArgumentError("the session's window is too large");
    if (blocked) {
      for (const StreamId id : Ids()) WindowHasGrown(id);
    }
    return absl::OkStatus();
  }
  const auto found = streams.find(frame.stream);
  if (found == streams.end()) return absl::OkStatus();  // it may have ended meanwhile
  if (frame.delta == 0) {
    StreamError(frame.stream, RstStatus::kProtocolError);
  } else if (!found->second.sending.Grow(frame.delta)) {
    StreamError(frame.stream, RstStatus::kFlowControlError);
  } else {
    WindowHasGrown(frame.stream);
  }
  return absl::OkStatus();
}

void Session::State::WindowHasGrown(StreamId id) {
  const auto found = streams.find(id);
  if (found != streams.end() && SendWindow(found->second) > 0) events.OnWindow(id);
}

absl::Status Session::State::OnData(const FrameReader::Part& part) {
  const StreamId id = part.header.stream;
  const bool fin = part.last && part.header.fin();
  if (id == 0) return absl::InvalidArgumentError("data for stream 0");
  receiving.Received(part.payload.size());
  if (keeps_windows && receiving.left() < 0) {
    return absl::InvalidArgumentError("more data than the session's window takes");
  }
  if (!ForAStream(part)) {
    receiving.Consumed(part.payload.size());
    if (fin) dropped.erase(id);
    return absl::OkStatus();
  }
  streams.at(id).peer_ended = fin;
  if (fin || !part.payload.empty()) events.OnData(id, part.payload, fin);
  RemoveIfEnded(id);
  return absl::OkStatus();
}

bool Session::State::ForAStream(const FrameReader::Part& part) {
  const StreamId id = part.header.stream;
  const auto found = streams.find(id);
  if (found == streams.end()) {
    if (part.first) Stray(id);
    return false;
  }
  Stream& stream = found->second;
  std::optional<RstStatus> fault;
  if (stream.peer_ended) {
    fault = RstStatus::kStreamAlreadyClosed;
  } else if (stream.ours && !stream.replied) {
    fault = RstStatus::kProtocolError;
  } else if (keeps_windows && stream.receiving.left() < static_cast<int64_t>(part.payload.size())) {
    fault = RstStatus::kFlowControlError;
  }
  if (fault) {
    StreamError(id, *fault);
    return false;
  }
  stream.receiving.Received(part.payload.size());
  return true;
}

void Session::State::Stray(StreamId id) {
  if (dropped.contains(id)) return;
  if (sent_goaway && FromPeer(id) && id > last_accepted) return;
  const bool ended = FromPeer(id) ? id <= last_seen : id < next_id;
  SendReset(id, ended ? RstStatus::kStreamAlreadyClosed : RstStatus::kInvalidStream);
}

void Session::State::StreamError(StreamId id, RstStatus status) {
  const auto found = streams.find(id);
  const bool known = found != streams.end();
  if (known) Remove(found);
  SendReset(id, status);
  if (known) events.OnReset(id, status);
}

}  // namespace berth::streaming::spdy
