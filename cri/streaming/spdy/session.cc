#include "cri/streaming/spdy/session.h"

#include <algorithm>
#include <utility>

#include "cri/streaming/spdy/session_state.h"

namespace berth::streaming::spdy {

Session::State::State(Role role_in, Limits limits_in, Events& events_in)
    : role(role_in),
      limits(limits_in),
      events(events_in),
      reader(limits.control_frame),
      next_id(role == Role::kServer ? 2 : 1),
      receiving(std::max(limits.session_window, kDefaultWindow)),
      next_ping(next_id) {
  AppendSettings(output, {{.id = kMaxConcurrentStreams, .value = static_cast<uint32_t>(limits.streams)},
                          {.id = kInitialWindow, .value = limits.window}});
  if (limits.session_window > kDefaultWindow) {
    AppendWindowUpdate(output, {.stream = 0, .delta = limits.session_window - kDefaultWindow});
  }
}

std::vector<StreamId> Session::State::Ids() const {
  std::vector<StreamId> ids;
  ids.reserve(streams.size());
  for (const auto& [id, stream] : streams) ids.push_back(id);
  return ids;
}

size_t Session::State::SendWindow(const Stream& stream) const {
  if (stream.we_ended || !stream.replied) return 0;
  if (!keeps_windows) return kMaxLength;
  return static_cast<size_t>(
      std::clamp(std::min(stream.sending.left(), sending.left()), int64_t{0}, int64_t{kMaxLength}));
}

void Session::State::SendReset(StreamId id, RstStatus status) {
  constexpr size_t kMaxDropped = 1000;
  AppendRstStream(output, {.stream = id, .status = status});
  dropped.insert(id);
  if (dropped.size() > kMaxDropped) dropped.erase(dropped.begin());
}

void Session::State::Remove(Streams::iterator stream) {
  receiving.Consumed(stream->second.receiving.held());
  if (!stream->second.ours) --peer_streams;
  due.erase(stream->first);
  streams.erase(stream);
}

void Session::State::RemoveIfEnded(StreamId id) {
  const auto found = streams.find(id);
  if (found == streams.end()) return;
  if (!found->second.peer_ended || !found->second.we_ended) return;
  if (!found->second.ours && futile > 0) --futile;
  Remove(found);
}

Session::Session(Role role, Limits limits, Events& events) : state_(std::make_unique<State>(role, limits, events)) {}
Session::~Session() = default;

absl::Status Session::Receive(absl::string_view bytes) { return state_->Receive(bytes); }

bool Session::has_output() const { return !state_->output.empty() || !state_->due.empty() || state_->receiving.due(); }

std::string Session::TakeOutput() {
  std::string taken;  // in front: a GOAWAY is the last thing that a peer reads
  for (const StreamId id : std::exchange(state_->due, {})) {
    AppendWindowUpdate(taken, {.stream = id, .delta = state_->streams.at(id).receiving.Update()});
  }
  if (state_->receiving.due()) AppendWindowUpdate(taken, {.stream = 0, .delta = state_->receiving.Update()});
  state_->opening = 0;
  taken += std::exchange(state_->output, {});
  return taken;
}

absl::StatusOr<StreamId> Session::Open(const Headers& headers, bool fin) {
  State& state = *state_;
  if (!state.failed.ok()) return absl::FailedPreconditionError("the session has failed");
  if (state.sent_goaway || state.received_goaway) return absl::FailedPreconditionError("the session is ending");
  if (state.next_id > kMax31) return absl::ResourceExhaustedError("the session has no stream ids left");
  if (state.streams.size() - state.peer_streams >= state.peer_max_streams) {
    return absl::ResourceExhaustedError(absl::StrCat("the peer takes ", state.peer_max_streams, " streams at once"));
  }
  const StreamId id = state.next_id;
  state.next_id += 2;
  const size_t before = state.output.size();
  AppendSynStream(state.output, {.stream = id, .headers = state.deflater.Deflate(FormatHeaders(headers))},
                  fin ? kFin : 0);
  state.opening += state.output.size() - before;
  state.streams.emplace(id, State::Stream{.ours = true,
                                          .we_ended = fin,
                                          .sending = SendingWindow(state.initial_window),
                                          .receiving = ReceivingWindow(state.limits.window)});
  return id;
}

void Session::Reply(StreamId id, const Headers& headers, bool fin) {
  const auto found = state_->streams.find(id);
  if (found == state_->streams.end()) return;
  State::Stream& stream = found->second;
  if (stream.ours || stream.replied || stream.we_ended) return;
  AppendStreamHeaders(state_->output, FrameType::kSynReply,
                      {.stream = id, .headers = state_->deflater.Deflate(FormatHeaders(headers))}, fin ? kFin : 0);
  stream.replied = true;
  stream.we_ended = fin;
  state_->RemoveIfEnded(id);
}

size_t Session::SendWindow(StreamId id) const {
  const auto found = state_->streams.find(id);
  return found == state_->streams.end() ? 0 : state_->SendWindow(found->second);
}

std::array<char, Session::kDataHeader> Session::Data(StreamId id, size_t bytes, bool fin) {
  static_assert(kDataHeader == kFrameHeader);
  if (const auto found = state_->streams.find(id); found != state_->streams.end()) {
    State::Stream& stream = found->second;
    stream.served = stream.served || bytes > 0;
    stream.we_ended = stream.we_ended || fin;
    stream.sending.Sent(bytes);
    state_->sending.Sent(bytes);
    state_->RemoveIfEnded(id);
  }
  return DataHeader(id, static_cast<uint32_t>(bytes), fin);
}

void Session::Consumed(StreamId id, size_t bytes) {
  const auto found = state_->streams.find(id);
  if (found == state_->streams.end()) return;
  State::Stream& stream = found->second;
  state_->receiving.Consumed(stream.receiving.Consumed(bytes));
  if (!stream.peer_ended && stream.receiving.due()) state_->due.insert(id);
}

void Session::Reset(StreamId id, RstStatus status) {
  const auto found = state_->streams.find(id);
  if (found == state_->streams.end()) return;
  state_->Remove(found);
  state_->SendReset(id, status);
}

uint32_t Session::Ping() {
  const uint32_t id = state_->next_ping;
  state_->next_ping += 2;
  AppendPing(state_->output, id);
  return id;
}

void Session::GoAway(GoAwayStatus status) {
  if (std::exchange(state_->sent_goaway, true)) return;
  AppendGoAway(state_->output, {.last_good = state_->last_accepted, .status = status});
}

size_t Session::open_streams() const { return state_->streams.size(); }
bool Session::peer_keeps_windows() const { return state_->keeps_windows; }

}  // namespace berth::streaming::spdy
