#include "cri/streaming/spdy_connection.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <chrono>
#include <utility>

namespace berth::streaming {
namespace {

constexpr auto kFarewell = std::chrono::seconds(1);

// The windows of 64 streams: a pod that serves one connection after the other does not read from the others, and what
// they hold must not keep the one from being served. Memory is only taken by what nobody reads.
constexpr uint32_t kSessionWindow = 16 * 1024 * 1024;

spdy::Limits ServerLimits() {
  spdy::Limits limits;
  limits.session_window = kSessionWindow;
  return limits;
}

bool IsEmpty(int pipe) {
  int waiting = 0;
  return ioctl(pipe, FIONREAD, &waiting) == 0 && waiting == 0;
}

}  // namespace

// Held by the connection while either side may send, and by whoever uses it.
class SpdyConnection::Stream final : public Channel, public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::weak_ptr<SpdyConnection> connection, spdy::StreamId id) : connection_(std::move(connection)), id_(id) {}

  void Listen(Reader* reader) override {
    auto self = shared_from_this();
    reader_ = reader;
    listened_ = true;
    const std::string early = std::exchange(early_, {});
    if (reader == nullptr) return Consumed(early.size());
    if (!early.empty()) reader->OnBytes(early);
    if (reader_ != nullptr && peer_ended_) reader_->OnEnd();
    if (reader_ != nullptr && reset_) reader_->OnReset();
  }

  void Consumed(size_t bytes) override {
    auto connection = Connection();
    if (!connection || bytes == 0) return;
    connection->session_.Consumed(id_, bytes);
    connection->Released(bytes);
  }

  bool can_send_from() const override {
    auto connection = Connection();
    return connection && connection->stream_->splice_target() >= 0;
  }
  void Send(absl::string_view bytes, Done done) override {
    bytes_ = bytes;
    Begin(-1, bytes.size(), std::move(done));
  }
  void SendFrom(int pipe, size_t bytes, Done done) override { Begin(pipe, bytes, std::move(done)); }

  void End() override {
    auto connection = Connection();
    if (!connection || reset_ || std::exchange(ending_, true)) return;
    connection->Enqueue(shared_from_this());
  }

  void Reset() override {
    auto connection = Connection();
    if (!connection || reset_) return;
    auto self = shared_from_this();
    connection->session_.Reset(id_, spdy::RstStatus::kCancel);
    connection->streams_.erase(id_);
    reader_ = nullptr;
    BecomeReset(*connection);
    connection->Write();
  }

 private:
  friend class SpdyConnection;

  std::shared_ptr<SpdyConnection> Connection() const {
    auto connection = connection_.lock();
    return connection && !connection->ended_ ? connection : nullptr;
  }

  // Without the connection there is nobody to call later: the owner hears of its end from the reader, or is its owner.
  void Begin(int pipe, size_t bytes, Done done) {
    auto connection = Connection();
    if (!connection) return;
    pipe_ = pipe;
    left_ = bytes;
    done_ = std::move(done);
    if (reset_ || ending_) return FailSend(*connection);
    connection->Enqueue(shared_from_this());
  }

  // What is being written stays its owner's to keep until that is over: then OnWritten says so.
  void FailSend(SpdyConnection& connection) {
    if (!done_ || connection.writing_.stream.get() == this) return;
    left_ = 0;
    connection.Later([done = std::exchange(done_, nullptr)] { done(absl::CancelledError("the stream has ended")); });
  }

  bool wants_to_write() const { return !reset_ && !fin_sent_ && (done_ || ending_); }

  void Deliver(absl::string_view bytes) {
    if (reader_ != nullptr) return reader_->OnBytes(bytes);
    if (reset_ || listened_) return Consumed(bytes.size());
    early_.append(bytes.data(), bytes.size());
  }
  void PeerEnded() {
    peer_ended_ = true;
    if (reader_ != nullptr) reader_->OnEnd();
  }
  // From here on neither the reader nor a pipe is touched.
  void BecomeReset(SpdyConnection& connection) {
    reset_ = true;
    Consumed(std::exchange(early_, {}).size());
    Reader* reader = std::exchange(reader_, nullptr);
    FailSend(connection);
    if (reader != nullptr) reader->OnReset();
  }

  const std::weak_ptr<SpdyConnection> connection_;
  const spdy::StreamId id_;
  Reader* reader_ = nullptr;
  std::string early_;  // came before anybody listened
  bool listened_ = false;
  bool peer_ended_ = false, reset_ = false;
  // What is sent: from `pipe_`, or the rest of `bytes_`.
  int pipe_ = -1;
  absl::string_view bytes_;
  size_t left_ = 0;
  Done done_;
  bool ending_ = false, fin_sent_ = false;
  bool queued_ = false;  // in ready_
};

std::shared_ptr<SpdyConnection> SpdyConnection::Start(std::shared_ptr<ByteStream> stream, std::string early,
                                                      Accept accept) {
  std::shared_ptr<SpdyConnection> self(new SpdyConnection(std::move(stream), std::move(accept)));
  self->Later([self, early = std::move(early)] {
    self->Received(early);
    self->Read();
  });
  return self;
}

SpdyConnection::SpdyConnection(std::shared_ptr<ByteStream> stream, Accept accept)
    : stream_(std::move(stream)),
      accept_(std::move(accept)),
      session_(spdy::Session::Role::kServer, ServerLimits(), *this),
      linger_(stream_->context()),
      farewell_(stream_->context()),
      peer_watch_(stream_->context()) {}

SpdyConnection::~SpdyConnection() = default;

void SpdyConnection::Later(std::function<void()> work) { boost::asio::post(stream_->context(), std::move(work)); }

std::shared_ptr<SpdyConnection::Stream> SpdyConnection::Find(spdy::StreamId id) const {
  auto it = streams_.find(id);
  return it == streams_.end() ? nullptr : it->second;
}

// ---- what comes in

void SpdyConnection::Read() {
  if (reading_ || ended_) return;
  if (full()) return WatchPeer();
  reading_ = true;
  peer_watch_.cancel();
  stream_->Read(input_.get(), kReadSize, [self = shared_from_this()](absl::Status status, size_t bytes) {
    self->OnRead(std::move(status), bytes);
  });
}

void SpdyConnection::OnRead(absl::Status status, size_t bytes) {
  reading_ = false;
  if (ended_) return;
  if (!status.ok()) return Broken(status);
  if (bytes == 0) return Ended();
  Received(absl::string_view(input_.get(), bytes));
  Read();
}

void SpdyConnection::Received(absl::string_view bytes) {
  if (ended_ || bytes.empty()) return;
  auto self = shared_from_this();
  if (absl::Status status = session_.Receive(bytes); !status.ok()) {
    spdlog::debug("streaming: the client breaks SPDY: {}", status.ToString());
    failed_ = true;
    return Close();
  }
  Write();
}

// Nobody takes what the client sends, and nothing is read: that the client goes away is found by looking. The timer
// keeps the connection, as a read would.
void SpdyConnection::WatchPeer() {
  peer_watch_.expires_after(std::chrono::seconds(1));
  peer_watch_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (error || self->ended_ || self->reading_) return;
    if (self->stream_->PeerGone()) return self->Ended();
    self->Read();
  });
}

void SpdyConnection::Released(size_t bytes) {
  const bool was_full = full();
  kept_ -= std::min(bytes, kept_);
  if (session_.has_output()) Write();  // a window that opens
  if (was_full && !full()) Later([self = shared_from_this()] { self->Read(); });
}

void SpdyConnection::OnStream(spdy::StreamId id, const spdy::Headers& headers, bool fin) {
  auto stream = std::make_shared<Stream>(weak_from_this(), id);
  streams_[id] = stream;
  stream->peer_ended_ = fin;
  if (closing_ || !accept_) return stream->Reset();
  // The reply precedes what the channel's user may send at once.
  session_.Reply(id, {}, false);
  if (!accept_(stream, id, headers)) stream->Reset();
}

void SpdyConnection::OnHeaders(spdy::StreamId id, const spdy::Headers&, bool fin) {
  if (fin) OnData(id, {}, true);
}

void SpdyConnection::OnData(spdy::StreamId id, absl::string_view bytes, bool fin) {
  std::shared_ptr<Stream> stream = Find(id);
  if (!stream) return session_.Consumed(id, bytes.size());
  kept_ += bytes.size();
  if (!bytes.empty()) stream->Deliver(bytes);
  if (!fin) return;
  stream->PeerEnded();
  if (stream->fin_sent_) streams_.erase(id);
}

void SpdyConnection::OnReset(spdy::StreamId id, spdy::RstStatus) {
  std::shared_ptr<Stream> stream = Find(id);
  if (!stream) return;
  streams_.erase(id);
  stream->BecomeReset(*this);
}

void SpdyConnection::OnWindow(spdy::StreamId id) {
  if (id != 0) {
    if (std::shared_ptr<Stream> stream = Find(id)) Enqueue(stream);
    return;
  }
  for (const auto& [number, stream] : std::map<spdy::StreamId, std::shared_ptr<Stream>>(streams_)) Enqueue(stream);
}

// ---- what goes out

void SpdyConnection::Enqueue(const std::shared_ptr<Stream>& stream) {
  if (!stream->wants_to_write()) return;
  if (!std::exchange(stream->queued_, true)) ready_.push_back(stream);
  Write();
}

void SpdyConnection::Write() {
  if (writing_.active || ended_ || done_writing_) return;
  if (session_.has_output()) return WriteControl();
  while (!ready_.empty()) {
    std::shared_ptr<Stream> stream = std::move(ready_.front());
    ready_.pop_front();
    stream->queued_ = false;
    if (!stream->wants_to_write()) continue;
    // An empty frame that ends the stream needs no window; without one, OnWindow puts the stream here again.
    if (stream->left_ > 0 && session_.SendWindow(stream->id_) == 0) continue;
    return WriteData(std::move(stream));
  }
  if (closing_) SayGoodbye();
}

// All is sent. The client has all that it asked for and closes; one that does not is told that this was it. Not sooner:
// Kubernetes' clients look at nothing that comes after a GOAWAY, and had trouble with what came just before it.
void SpdyConnection::SayGoodbye() {
  // Those that wait for their window are not in the queue.
  for (const auto& [id, stream] : streams_) {
    if (stream->wants_to_write()) return;
  }
  if (told_) {
    done_writing_ = true;  // also what would still be answered, such as a ping
    return stream_->EndWrites();
  }
  if (std::exchange(leaving_, true)) return;
  if (!failed_) patience_.emplace();
  farewell_.expires_after(kFarewell);
  farewell_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    auto self = weak.lock();
    if (error || !self || self->ended_) return;
    self->told_ = true;
    self->session_.GoAway(spdy::GoAwayStatus::kOk);
    self->Write();
  });
}

void SpdyConnection::WriteControl() {
  writing_ = Writing();
  writing_.active = true;
  writing_.control = session_.TakeOutput();
  stream_->Write(writing_.control, {},
                 [self = shared_from_this()](absl::Status status) { self->OnWritten(std::move(status)); });
}

void SpdyConnection::WriteData(std::shared_ptr<Stream> stream) {
  writing_ = Writing();
  writing_.active = true;
  const size_t window = stream->left_ == 0 ? 0 : session_.SendWindow(stream->id_);
  writing_.bytes = std::min({stream->left_, window, kMostFrame});
  writing_.fin = !stream->done_ && stream->ending_;
  writing_.header = session_.Data(stream->id_, writing_.bytes, writing_.fin);
  writing_.stream = stream;
  if (stream->pipe_ >= 0 && writing_.bytes > 0) {
    writing_.header_left = writing_.header.size();
    writing_.left = writing_.bytes;
    return Splice();
  }
  stream_->Write(absl::string_view(writing_.header.data(), writing_.header.size()),
                 stream->bytes_.substr(0, writing_.bytes),
                 [self = shared_from_this()](absl::Status status) { self->OnWritten(std::move(status)); });
}

// The frame's header, then pages of the pipe: what the socket takes now, and the rest when it takes more.
void SpdyConnection::Splice() {
  const int socket = stream_->splice_target();
  while (writing_.header_left + writing_.left > 0) {
    ssize_t n;
    if (writing_.header_left > 0) {
      n = send(socket, writing_.header.data() + (writing_.header.size() - writing_.header_left), writing_.header_left,
               MSG_MORE | MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) writing_.header_left -= static_cast<size_t>(n);
    } else if (writing_.stream->reset_) {
      // The pipe may be closed by now, and the frame has to have its length. The client drops it.
      static const char kNothing[4096] = {};
      n = send(socket, kNothing, std::min(writing_.left, sizeof kNothing), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n > 0) writing_.left -= static_cast<size_t>(n);
    } else {
      n = splice(writing_.stream->pipe_, nullptr, socket, nullptr, writing_.left, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
      if (n > 0) writing_.left -= static_cast<size_t>(n);
    }
    if (n > 0 || (n < 0 && errno == EINTR)) continue;
    if (n < 0 && errno != EAGAIN) return OnWritten(ErrnoError(errno, "splice"));
    // A command can open its own standard output and read from it: what the frame's header announces is not there then,
    // and the socket would be found writable again and again.
    if (writing_.header_left == 0 && !writing_.stream->reset_ && IsEmpty(writing_.stream->pipe_)) {
      return OnWritten(absl::DataLossError("somebody else has read from the pipe, within a frame"));
    }
    return stream_->AwaitWritable([self = shared_from_this()](absl::Status status) {
      if (!status.ok()) return self->OnWritten(std::move(status));
      if (!self->ended_) self->Splice();
    });
  }
  Later([self = shared_from_this()] { self->OnWritten(absl::OkStatus()); });
}

void SpdyConnection::OnWritten(absl::Status status) {
  if (ended_) return;
  writing_.active = false;
  if (!status.ok()) return Broken(status);
  if (std::shared_ptr<Stream> stream = std::move(writing_.stream)) {
    stream->left_ -= writing_.bytes;
    if (stream->pipe_ < 0) stream->bytes_.remove_prefix(writing_.bytes);
    stream->fin_sent_ |= writing_.fin;
    if (stream->fin_sent_ && stream->peer_ended_) streams_.erase(stream->id_);
    if (stream->reset_) {
      stream->FailSend(*this);
    } else if (stream->left_ == 0 && stream->done_) {
      std::exchange(stream->done_, nullptr)(absl::OkStatus());
    }
    if (!ended_) Enqueue(stream);
  }
  Write();
}

// ---- the end

void SpdyConnection::Close() {
  if (std::exchange(closing_, true) || ended_) return;
  // The client closes when it has read all. To close first could cost it what it has not read yet: a TCP socket
  // with unread input is reset.
  Linger();
  Write();
}

void SpdyConnection::Linger() {
  linger_.expires_after(std::chrono::seconds(kLingerSeconds));
  linger_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    auto self = weak.lock();
    if (error || !self || self->ended_) return;
    const bool waits = self->patience_ && self->patience_->Waits(self->stream_->Unsent());
    waits ? self->Linger() : self->Ended();
  });
}

void SpdyConnection::Broken(const absl::Status& why) {
  spdlog::debug("streaming: the connection has ended: {}", why.ToString());
  Ended();
}

void SpdyConnection::Ended() {
  if (std::exchange(ended_, true)) return;
  auto self = shared_from_this();
  stream_->Close();
  linger_.cancel();
  farewell_.cancel();
  peer_watch_.cancel();
  ready_.clear();
  accept_ = nullptr;
  // One that was reset while it was written is not among the others any more, and its Send has not been told of yet.
  if (auto stream = std::exchange(writing_.stream, nullptr)) stream->FailSend(*this);
  for (auto& [id, stream] : std::exchange(streams_, {})) stream->BecomeReset(*this);
  if (auto closed = std::exchange(closed_, nullptr)) Later(std::move(closed));
}

}  // namespace berth::streaming
