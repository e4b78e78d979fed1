#include "cri/streaming/read_ahead.h"

#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <utility>

namespace berth::streaming {
namespace {

constexpr size_t kPiece = 64 * 1024;

}  // namespace

absl::StatusOr<std::shared_ptr<ReadAhead>> ReadAhead::Start(boost::asio::io_context& io, int fd,
                                                            std::shared_ptr<Channel> channel, Callbacks callbacks,
                                                            Room room) {
  std::shared_ptr<ReadAhead> flow(new ReadAhead(io, fd, std::move(channel), std::move(callbacks), std::move(room)));
  RETURN_IF_ERROR(Watch(flow->descriptor_, fd));
  flow->Await();
  return flow;
}

ReadAhead::~ReadAhead() {
  Stop();
  Forget();
}

void ReadAhead::Stop() {
  callbacks_ = {};
  if (descriptor_.is_open()) descriptor_.release();
}

void ReadAhead::Forget() {
  *room_ += static_cast<int64_t>(std::exchange(kept_, 0));
  pieces_.clear();
}

void ReadAhead::Await() {
  if (!descriptor_.is_open() || std::exchange(awaiting_, true)) return;
  descriptor_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                         [self = shared_from_this()](const boost::system::error_code& error) {
                           self->awaiting_ = false;
                           if (!error) self->Read();
                         });
}

void ReadAhead::Drain() {
  if (std::exchange(draining_, true)) return;
  boost::asio::post(descriptor_.get_executor(), [self = shared_from_this()] { self->Read(); });
}

// One piece is everybody's, or a flow that found no room would have nothing to wait for.
bool ReadAhead::HasRoom() const {
  return kept_ == 0 || (kept_ + kPiece <= kMost && *room_ >= static_cast<int64_t>(kPiece));
}

// Takes one piece; false when there is none to be had now.
bool ReadAhead::ReadPiece() {
  static thread_local char buffer[kPiece];
  ssize_t n;
  while ((n = read(fd_, buffer, sizeof buffer)) < 0 && errno == EINTR) {
  }
  if (n < 0 && errno == EAGAIN) {
    source_ended_ |= draining_;
    return false;
  }
  if (n <= 0) {
    source_ended_ = true;
    return false;
  }
  pieces_.emplace_back(buffer, static_cast<size_t>(n));
  kept_ += static_cast<size_t>(n);
  *room_ -= n;
  return true;
}

void ReadAhead::Read() {
  // A burst is taken at once, but others of this thread have their turn.
  constexpr int kTurns = 16;
  for (int i = 0; i < kTurns && descriptor_.is_open() && !source_ended_ && HasRoom() && ReadPiece(); ++i) continue;
  if (source_ended_ && descriptor_.is_open()) descriptor_.release();
  Send();
  if (!descriptor_.is_open()) return;
  // Without room it goes on when the client has taken a piece.
  if (!HasRoom()) return;
  draining_ ? Later() : Await();
}

void ReadAhead::Later() {
  boost::asio::post(descriptor_.get_executor(), [self = shared_from_this()] { self->Read(); });
}

void ReadAhead::Send() {
  if (sending_) return;
  if (pieces_.empty()) {
    if (source_ended_) Ended(absl::OkStatus());
    return;
  }
  sending_ = true;
  channel_->Send(pieces_.front(), [self = shared_from_this()](absl::Status status) {
    self->sending_ = false;
    if (!status.ok()) return self->Ended(std::move(status));
    const size_t sent = self->pieces_.front().size();
    self->pieces_.pop_front();
    self->kept_ -= sent;
    *self->room_ += static_cast<int64_t>(sent);
    if (self->callbacks_.active) self->callbacks_.active();
    self->Send();
    if (self->descriptor_.is_open() && !self->awaiting_) self->Read();
  });
}

void ReadAhead::Ended(absl::Status status) {
  if (descriptor_.is_open()) descriptor_.release();
  Forget();
  if (auto ended = std::exchange(callbacks_.ended, nullptr)) ended(std::move(status));
}

}  // namespace berth::streaming
