// Bytes between a descriptor and a channel, as fast as the slower of the two, with bounded memory.
// On the io_context's thread. Descriptors are non-blocking, stay their owner's, and outlive the flow.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cri/streaming/channel.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::streaming {

// Has the descriptor's io_context watch `fd`, which stays its owner's. ResourceExhausted and the like, in the kernel's
// words; never an exception, which would end the io_context's thread.
absl::Status Watch(boost::asio::posix::stream_descriptor& descriptor, int fd);

// What goes to the client.
class OutputFlow {
 public:
  struct Callbacks {
    // Once: the descriptor has come to its end (OK), failed, or the channel has. Not after Stop.
    std::function<void(absl::Status)> ended;
    std::function<void()> active;  // something was sent
  };
  virtual ~OutputFlow() = default;
  // Sends what is there now and then ends, without waiting for the descriptor's end or for who writes on and on.
  virtual void Drain() = 0;
  // Lets go of the descriptor and calls nobody any more.
  virtual void Stop() = 0;
};

// From a pipe, a terminal or a socket, no faster than the client takes it. Spliced where the channel can take it.
class Outflow final : public OutputFlow, public std::enable_shared_from_this<Outflow> {
 public:
  // An error of Watch.
  static absl::StatusOr<std::shared_ptr<Outflow>> Start(boost::asio::io_context& io, int fd,
                                                        std::shared_ptr<Channel> channel, Callbacks callbacks);
  ~Outflow() override;

  void Drain() override;
  void Stop() override;

 private:
  Outflow(boost::asio::io_context& io, int fd, std::shared_ptr<Channel> channel, Callbacks callbacks);
  void Await();
  void Move();
  bool Splice();
  void SpliceFrom(int pipe, size_t bytes);
  Channel::Done Sending(size_t bytes);
  size_t Most() const { return left_.value_or(SIZE_MAX); }
  size_t LeftInside() const;
  void Ended(absl::Status status);
  void OnSent(absl::Status status);

  const int fd_;
  boost::asio::posix::stream_descriptor descriptor_;
  const std::shared_ptr<Channel> channel_;
  Callbacks callbacks_;
  bool is_pipe_ = false;
  enum class Source { kCopied, kPipe, kSocket } source_ = Source::kCopied;  // what is spliced from
  sys::UniqueFd relay_in_, relay_out_;  // of a socket: sockets are spliced by way of a pipe
  bool draining_ = false;
  std::optional<size_t> left_;      // to be sent yet, once it is drained
  bool moving_ = false;             // a Send is under way
  std::unique_ptr<char[]> buffer_;  // while there is something to move
};

// From the client to a pipe, a terminal or a socket.
class Inflow : public Channel::Reader, public std::enable_shared_from_this<Inflow> {
 public:
  struct Callbacks {
    std::function<void()> ended;    // once: the client has ended its side, and all that it sent is written
    std::function<void()> reset;    // once: it has given up; what was not written is lost
    std::function<void()> refused;  // once: the descriptor takes no more (a closed pipe). What comes is dropped
    std::function<void()> active;
  };
  // An error of Watch.
  static absl::StatusOr<std::shared_ptr<Inflow>> Create(boost::asio::io_context& io, int fd,
                                                        std::shared_ptr<Channel> channel, Callbacks callbacks);
  ~Inflow() override;
  // What has come already is taken inside the call, which may end the flow.
  void Start() { channel_->Listen(this); }
  void Stop();

  void OnBytes(absl::string_view bytes) override;
  void OnEnd() override;
  void OnReset() override;

 private:
  Inflow(boost::asio::io_context& io, int fd, std::shared_ptr<Channel> channel, Callbacks callbacks);
  size_t Write(absl::string_view bytes);
  void Await();
  void Flush();
  void CheckEnd();

  const int fd_;
  boost::asio::posix::stream_descriptor descriptor_;
  const std::shared_ptr<Channel> channel_;
  Callbacks callbacks_;
  std::string waiting_;  // not written yet; bounded by the connection (Channel::Consumed)
  size_t written_ = 0;   // of waiting_
  bool awaiting_ = false;
  bool ended_ = false;
  bool broken_ = false;
};

}  // namespace berth::streaming
