// From a pipe that must not fill up to a client that may be slow: what the client has not taken yet waits here.
// On the io_context's thread.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <deque>
#include <memory>
#include <string>

#include "cri/streaming/channel.h"
#include "cri/streaming/flow.h"

namespace berth::streaming {

// Reads on while the client lags, up to kMost bytes, and as long as all such flows together keep within `room` (bytes
// that are left, shared by the daemon's sessions). Past that it does not read, and whoever fills the pipe finds it
// full.
class ReadAhead final : public OutputFlow, public std::enable_shared_from_this<ReadAhead> {
 public:
  using Room = std::shared_ptr<std::atomic<int64_t>>;
  static constexpr size_t kMost = 8 << 20;

  // An error of Watch.
  static absl::StatusOr<std::shared_ptr<ReadAhead>> Start(boost::asio::io_context& io, int fd,
                                                          std::shared_ptr<Channel> channel, Callbacks callbacks,
                                                          Room room);
  ~ReadAhead() override;

  void Drain() override;
  void Stop() override;

 private:
  ReadAhead(boost::asio::io_context& io, int fd, std::shared_ptr<Channel> channel, Callbacks callbacks, Room room)
      : fd_(fd),
        descriptor_(io),
        channel_(std::move(channel)),
        callbacks_(std::move(callbacks)),
        room_(std::move(room)) {}
  void Await();
  bool HasRoom() const;
  void Read();
  void Later();
  bool ReadPiece();
  void Send();
  void Ended(absl::Status status);
  void Forget();

  const int fd_;
  boost::asio::posix::stream_descriptor descriptor_;
  const std::shared_ptr<Channel> channel_;
  Callbacks callbacks_;
  const Room room_;
  std::deque<std::string> pieces_;  // the first is being sent while sending_
  size_t kept_ = 0;                 // bytes of all pieces
  bool awaiting_ = false, sending_ = false;
  bool source_ended_ = false, draining_ = false;
};

}  // namespace berth::streaming
