#include "cri/streaming/flow.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstdint>
#include <utility>

namespace berth::streaming {
namespace {

namespace asio = boost::asio;

constexpr size_t kReadSize = 64 * 1024;
// Below this, copying costs less than the calls that splicing takes.
constexpr int kLeastSplice = 16 * 1024;
// Of what a terminal holds, in its buffers and on the way into them, nobody tells how much it is.
constexpr size_t kMostInside = 128 * 1024;

mode_t TypeOf(int fd) {
  struct stat st;
  return fstat(fd, &st) == 0 ? st.st_mode & S_IFMT : 0;
}

// Calls a callback that must not run twice.
template <typename Callback, typename... Args>
void Once(Callback& callback, Args&&... args) {
  if (!callback) return;
  Callback call = std::exchange(callback, nullptr);
  call(std::forward<Args>(args)...);
}

void Notify(const std::function<void()>& callback) {
  if (callback) callback();
}

}  // namespace

absl::Status Watch(asio::posix::stream_descriptor& descriptor, int fd) {
  boost::system::error_code error;
  descriptor.assign(fd, error);
  return error ? ErrnoError(error.value(), "watch a descriptor") : absl::OkStatus();
}

Outflow::Outflow(asio::io_context& io, int fd, std::shared_ptr<Channel> channel, Callbacks callbacks)
    : fd_(fd), descriptor_(io), channel_(std::move(channel)), callbacks_(std::move(callbacks)) {
  const mode_t type = TypeOf(fd);
  is_pipe_ = type == S_IFIFO;
  if (!channel_->can_send_from()) return;
  if (type == S_IFIFO) source_ = Source::kPipe;
  if (type == S_IFSOCK) source_ = Source::kSocket;
}

absl::StatusOr<std::shared_ptr<Outflow>> Outflow::Start(asio::io_context& io, int fd, std::shared_ptr<Channel> channel,
                                                        Callbacks callbacks) {
  std::shared_ptr<Outflow> flow(new Outflow(io, fd, std::move(channel), std::move(callbacks)));
  RETURN_IF_ERROR(Watch(flow->descriptor_, fd));
  flow->Await();
  return flow;
}

Outflow::~Outflow() { Stop(); }

void Outflow::Stop() {
  callbacks_ = {};
  if (descriptor_.is_open()) descriptor_.release();
}

void Outflow::Await() {
  if (!descriptor_.is_open()) return;
  descriptor_.async_wait(asio::posix::stream_descriptor::wait_read,
                         [self = shared_from_this()](const boost::system::error_code& error) {
                           if (!error && !self->moving_) self->Move();
                         });
}

void Outflow::Drain() {
  if (std::exchange(draining_, true) || moving_ || !descriptor_.is_open()) return;
  asio::post(descriptor_.get_executor(), [self = shared_from_this()] {
    if (!self->moving_) self->Move();
  });
}

// At most: what others write from now on may be among it, but no more than this.
size_t Outflow::LeftInside() const {
  int waiting = 0;
  if (is_pipe_ && ioctl(fd_, FIONREAD, &waiting) == 0) return static_cast<size_t>(waiting);
  return kMostInside;
}

void Outflow::Move() {
  if (!descriptor_.is_open()) return;
  if (draining_ && !left_) left_ = LeftInside();
  if (left_ == 0) return Ended(absl::OkStatus());
  if (source_ != Source::kCopied && Splice()) return;
  if (!buffer_) buffer_.reset(new char[kReadSize]);
  ssize_t n;
  while ((n = read(fd_, buffer_.get(), std::min(kReadSize, Most()))) < 0 && errno == EINTR) {
  }
  if (n < 0 && errno == EAGAIN) {
    buffer_.reset();
    return draining_ ? Ended(absl::OkStatus()) : Await();
  }
  // A terminal ends with EIO once nobody has it open.
  if (n == 0 || (n < 0 && errno == EIO)) return Ended(absl::OkStatus());
  if (n < 0) return Ended(ErrnoError(errno, "read"));
  const absl::string_view bytes(buffer_.get(), static_cast<size_t>(n));
  channel_->Send(bytes, Sending(bytes.size()));
}

// False when there is too little, or it cannot be done: then it is copied.
bool Outflow::Splice() {
  int waiting = 0;
  if (ioctl(fd_, FIONREAD, &waiting) != 0 || waiting < kLeastSplice) return false;
  const size_t most = std::min({static_cast<size_t>(waiting), Channel::kMaxSend, Most()});
  if (source_ == Source::kPipe) {
    SpliceFrom(fd_, most);
    return true;
  }
  if (!relay_in_) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) return false;
    relay_out_.Reset(fds[0]);
    relay_in_.Reset(fds[1]);
    (void)fcntl(fds[1], F_SETPIPE_SZ, static_cast<int>(Channel::kMaxSend));  // as it is made it does as well
  }
  const ssize_t n = splice(fd_, nullptr, relay_in_.get(), nullptr, most, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
  if (n <= 0) return false;
  SpliceFrom(relay_out_.get(), static_cast<size_t>(n));
  return true;
}

void Outflow::SpliceFrom(int pipe, size_t bytes) { channel_->SendFrom(pipe, bytes, Sending(bytes)); }

Channel::Done Outflow::Sending(size_t bytes) {
  moving_ = true;
  if (left_) *left_ -= bytes;
  return [self = shared_from_this()](absl::Status status) { self->OnSent(std::move(status)); };
}

void Outflow::OnSent(absl::Status status) {
  moving_ = false;
  if (!status.ok()) return Ended(std::move(status));
  Notify(callbacks_.active);
  Move();
}

void Outflow::Ended(absl::Status status) {
  if (descriptor_.is_open()) descriptor_.release();
  buffer_.reset();
  Once(callbacks_.ended, std::move(status));
}

Inflow::Inflow(asio::io_context& io, int fd, std::shared_ptr<Channel> channel, Callbacks callbacks)
    : fd_(fd), descriptor_(io), channel_(std::move(channel)), callbacks_(std::move(callbacks)) {}

absl::StatusOr<std::shared_ptr<Inflow>> Inflow::Create(asio::io_context& io, int fd, std::shared_ptr<Channel> channel,
                                                       Callbacks callbacks) {
  std::shared_ptr<Inflow> flow(new Inflow(io, fd, std::move(channel), std::move(callbacks)));
  RETURN_IF_ERROR(Watch(flow->descriptor_, fd));
  return flow;
}

Inflow::~Inflow() { Stop(); }

void Inflow::Stop() {
  callbacks_ = {};
  channel_->Listen(nullptr);
  if (const size_t left = waiting_.size() - written_; left > 0) channel_->Consumed(left);
  waiting_.clear();
  written_ = 0;
  if (descriptor_.is_open()) descriptor_.release();
}

// Bytes that the descriptor took, or that are lost since it takes no more.
size_t Inflow::Write(absl::string_view bytes) {
  size_t done = 0;
  while (done < bytes.size() && !broken_) {
    ssize_t n = write(fd_, bytes.data() + done, bytes.size() - done);
    if (n > 0) {
      done += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      return done;
    } else if (errno != EINTR) {
      broken_ = true;
    }
  }
  return broken_ ? bytes.size() : done;
}

void Inflow::OnBytes(absl::string_view bytes) {
  auto self = shared_from_this();
  Notify(callbacks_.active);
  size_t done = 0;
  if (waiting_.empty() && descriptor_.is_open()) done = Write(bytes);
  if (done < bytes.size()) {
    waiting_.append(bytes.data() + done, bytes.size() - done);
    Await();
  }
  if (done > 0) channel_->Consumed(done);
  if (broken_) Once(callbacks_.refused);
}

void Inflow::Await() {
  if (std::exchange(awaiting_, true) || !descriptor_.is_open()) return;
  descriptor_.async_wait(asio::posix::stream_descriptor::wait_write,
                         [self = shared_from_this()](const boost::system::error_code& error) {
                           self->awaiting_ = false;
                           if (!error) self->Flush();
                         });
}

void Inflow::Flush() {
  if (!descriptor_.is_open()) return;
  const size_t done = Write(absl::string_view(waiting_).substr(written_));
  written_ += done;
  if (written_ == waiting_.size()) {
    waiting_ = std::string();
    written_ = 0;
  } else {
    Await();
  }
  if (done > 0) channel_->Consumed(done);
  if (broken_) Once(callbacks_.refused);
  CheckEnd();
}

void Inflow::OnEnd() {
  ended_ = true;
  CheckEnd();
}

void Inflow::CheckEnd() {
  if (ended_ && waiting_.empty()) Once(callbacks_.ended);
}

void Inflow::OnReset() { Once(callbacks_.reset); }

}  // namespace berth::streaming
