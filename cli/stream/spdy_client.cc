#include "cli/stream/spdy_client.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace berth::cli::stream {
namespace {

constexpr size_t kChunk = 64 * 1024;                    // read at once
constexpr size_t kMaxOut = 256 * 1024;                  // framed and not sent: more is not read from the sources
constexpr uint32_t kWindow = 256 * 1024;                // that the server gets for each stream
constexpr uint32_t kSessionWindow = 128 * 1024 * 1024;  // for all: so much that those who take nothing stop nobody else

spdy::Limits ClientLimits() {
  spdy::Limits limits;
  limits.window = kWindow;
  limits.session_window = kSessionWindow;
  return limits;
}

int MillisecondsUntil(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return -1;
  absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
  return static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1 << 30));
}

}  // namespace

SpdyClient::SpdyClient(sys::UniqueFd socket, std::string early)
    : socket_(std::move(socket)),
      early_(std::move(early)),
      session_(spdy::Session::Role::kClient, ClientLimits(), *this),
      buffer_(kChunk) {}

SpdyClient::~SpdyClient() = default;

absl::StatusOr<spdy::StreamId> SpdyClient::Open(const spdy::Headers& headers, Joint joint) {
  if (leaving()) return absl::FailedPreconditionError("the server has ended the session");
  ASSIGN_OR_RETURN(spdy::StreamId id, session_.Open(headers, /*fin=*/false));
  Stream& stream = streams_[id];
  if (joint.source >= 0) stream.source_kind = KindOf(joint.source);
  if (joint.sink >= 0) stream.sink_kind = KindOf(joint.sink);
  stream.joint = std::move(joint);
  return id;
}

void SpdyClient::Send(spdy::StreamId id, absl::string_view bytes) {
  if (Stream* stream = Find(id)) stream->unsent.append(bytes.data(), bytes.size());
}

void SpdyClient::End(spdy::StreamId id) {
  if (Stream* stream = Find(id)) stream->source_ended = true;
}

void SpdyClient::Drop(spdy::StreamId id) {
  session_.Reset(id, spdy::RstStatus::kCancel);
  streams_.erase(id);
}

absl::Status SpdyClient::Step(absl::Span<pollfd> also, absl::Time deadline) {
  absl::Status early = session_.Receive(std::exchange(early_, ""));
  for (auto& [id, stream] : streams_) Frame(id, stream);
  WriteSocket();
  RETURN_IF_ERROR(early, "the streaming server");
  CollectPolls(also);
  int n = poll(polls_.data(), polls_.size(), MillisecondsUntil(deadline));
  if (n < 0 && errno != EINTR) return ErrnoError(errno, "poll");
  for (size_t i = 0; i < also.size(); ++i) also[i].revents = n > 0 ? polls_[1 + i].revents : 0;
  if (n <= 0) return absl::OkStatus();
  if ((polls_[0].revents & ~POLLOUT) != 0) RETURN_IF_ERROR(ReadSocket());
  for (auto& [id, stream] : streams_) {
    if (stream.source_at != 0 && polls_[stream.source_at].revents != 0) {
      ReadSource(id, stream, polls_[stream.source_at].revents);
    }
    WriteSink(id, stream);
    Frame(id, stream);
  }
  WriteSocket();
  return absl::OkStatus();
}

SpdyClient::Stream* SpdyClient::Find(spdy::StreamId id) {
  auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : &found->second;
}

bool SpdyClient::MayRead(const Stream& stream) {
  return !stream.source_ended && !stream.state.sent_all && stream.state.source_error.ok();
}

bool SpdyClient::Wants(spdy::StreamId id, const Stream& stream) const {
  return stream.state.replied && MayRead(stream) && stream.unsent.empty() && out_.size() - sent_ < kMaxOut &&
         session_.SendWindow(id) > 0;
}

void SpdyClient::CollectPolls(absl::Span<pollfd> also) {
  polls_.assign(1, {closed_ ? -1 : socket_.get(), POLLIN, 0});
  if (sent_ < out_.size()) polls_[0].events |= POLLOUT;
  polls_.insert(polls_.end(), also.begin(), also.end());
  for (auto& [id, stream] : streams_) {
    stream.source_at = 0;
    // A server that does not keep to windows is held by not reading from it.
    if (stream.waiting() > kWindow) polls_[0].events &= ~POLLIN;
    bool wants = Wants(id, stream);
    // Of a socket, errors are heard while nothing is to be read, too: the other side may be gone.
    bool listens = stream.source_kind == FdKind::kSocket && MayRead(stream) && !stream.hung_up;
    if (stream.joint.source >= 0 && (wants || listens)) {
      stream.source_at = polls_.size();
      polls_.push_back({stream.joint.source, static_cast<short>(wants ? POLLIN : 0), 0});
    }
    if (stream.waiting() > 0) polls_.push_back({stream.joint.sink, POLLOUT, 0});
  }
}

void SpdyClient::ReadSource(spdy::StreamId id, Stream& stream, short events) {
  if (!Wants(id, stream)) {
    stream.hung_up = (events & POLLHUP) != 0;
    if ((events & POLLERR) == 0) return;
    stream.state.source_error = absl::AbortedError("the connection was reset");
    return;
  }
  auto n = ReadReady(stream.joint.source, buffer_.data(), std::min(buffer_.size(), session_.SendWindow(id)));
  if (n.ok()) {
    absl::string_view bytes(buffer_.data(), *n);
    absl::StrAppend(&stream.unsent, stream.joint.filter ? stream.joint.filter(bytes) : bytes);
    return;
  }
  // A failure is not an end: what it is to the server is the owner's to say.
  if (absl::IsOutOfRange(n.status())) {
    stream.source_ended = true;
  } else {
    stream.state.source_error = n.status();
  }
}

void SpdyClient::WriteSink(spdy::StreamId id, Stream& stream) {
  size_t done = 0;
  if (stream.waiting() > 0) {
    absl::string_view bytes = absl::string_view(stream.arrived).substr(stream.written);
    auto n = WriteReady(stream.joint.sink, stream.sink_kind, bytes);
    if (!n.ok()) stream.state.sink_error = n.status();
    done = n.ok() ? *n : bytes.size();
    stream.written += done;
    if (stream.written == stream.arrived.size()) {
      stream.arrived.clear();
      stream.written = 0;
    } else if (stream.written > kWindow) {
      stream.arrived.erase(0, stream.written);
      stream.written = 0;
    }
  }
  if (done > 0) Took(id, stream, done);
  stream.state.received_all = stream.peer_ended && stream.waiting() == 0;
}

// A server that has windows shows it at once. The others (all that are written in Go) drop what they still have to send
// when they close a connection on which something unread waits for them, and these updates would be that.
void SpdyClient::Took(spdy::StreamId id, Stream& stream, size_t bytes) {
  stream.owed += bytes;
  if (session_.peer_keeps_windows()) session_.Consumed(id, std::exchange(stream.owed, 0));
}

void SpdyClient::Frame(spdy::StreamId id, Stream& stream) {
  if (!stream.state.replied || stream.state.sent_all) return;
  size_t n = std::min(stream.unsent.size(), session_.SendWindow(id));
  bool fin = stream.source_ended && n == stream.unsent.size();
  if (n == 0 && !fin) return;
  absl::StrAppend(&out_, session_.TakeOutput());  // what was said before comes first
  auto header = session_.Data(id, n, fin);
  out_.append(header.data(), header.size());
  out_.append(stream.unsent, 0, n);
  stream.unsent.erase(0, n);
  stream.state.sent_all = fin;
}

absl::Status SpdyClient::ReadSocket() {
  ssize_t n = recv(socket_.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return absl::OkStatus();
  if (n <= 0) {
    Lose();
    return absl::OkStatus();
  }
  absl::Status status = session_.Receive(absl::string_view(buffer_.data(), static_cast<size_t>(n)));
  if (!status.ok()) WriteSocket();  // says why we leave
  return Annotate(status, "the streaming server");
}

void SpdyClient::WriteSocket() {
  if (session_.has_output()) absl::StrAppend(&out_, session_.TakeOutput());
  while (!mute_ && sent_ < out_.size()) {
    ssize_t n = send(socket_.get(), out_.data() + sent_, out_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
      sent_ += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      mute_ = true;  // what the server said before it went is still to be read
    }
  }
  out_.clear();
  sent_ = 0;
}

void SpdyClient::Lose() {
  closed_ = mute_ = true;
  for (auto& [id, stream] : streams_) {
    if (!stream.peer_ended || !stream.state.sent_all) stream.state.reset = true;
    stream.peer_ended = stream.state.sent_all = true;
  }
}

void SpdyClient::OnStream(spdy::StreamId id, const spdy::Headers&, bool) {
  session_.Reset(id, spdy::RstStatus::kRefusedStream);  // a server has none to open
}

void SpdyClient::OnReply(spdy::StreamId id, const spdy::Headers&, bool fin) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  stream->state.replied = true;
  stream->peer_ended |= fin;
}

void SpdyClient::OnHeaders(spdy::StreamId id, const spdy::Headers&, bool fin) {
  if (Stream* stream = Find(id)) stream->peer_ended |= fin;
}

void SpdyClient::OnData(spdy::StreamId id, absl::string_view bytes, bool fin) {
  Stream* stream = Find(id);
  if (stream == nullptr) return session_.Consumed(id, bytes.size());
  stream->peer_ended |= fin;
  if (stream->joint.sink >= 0 && stream->state.sink_error.ok()) {
    stream->arrived.append(bytes.data(), bytes.size());
    return;
  }
  if (stream->joint.sink < 0) {
    absl::StrAppend(&stream->state.text, bytes.substr(0, kMaxText - stream->state.text.size()));
  }
  Took(id, *stream, bytes.size());
}

void SpdyClient::OnReset(spdy::StreamId id, spdy::RstStatus) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  stream->state.reset = stream->state.sent_all = stream->peer_ended = true;
}

}  // namespace berth::cli::stream
