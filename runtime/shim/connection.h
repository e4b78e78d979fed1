// The shim's end of a connection to a daemon: never blocks, and holds back what the daemon does not read yet.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/shim/wire.h"
#include "runtime/sys/unique_fd.h"

namespace berth::shim {

class Connection {
 public:
  // `socket` is non-blocking, or is used with MSG_DONTWAIT only.
  explicit Connection(sys::UniqueFd socket) : socket_(std::move(socket)) {}
  int fd() const { return socket_.get(); }

  // The next whole message; nullopt when none is there yet. Any error ends the connection.
  absl::StatusOr<std::optional<Message>> Read();

  // Sends, or queues what does not go now. `fds` stay the caller's (a queued message has copies). An error ends the
  // connection: the peer is gone, or more than kMaxQueued bytes wait for it.
  absl::Status Send(absl::string_view body, absl::Span<const int> fds = {});
  // To be called when the socket takes data again.
  absl::Status Flush();
  bool wants_write() const { return !queue_.empty(); }

  static constexpr size_t kMaxQueued = 16u << 20;

 private:
  struct Queued {
    std::string data;
    std::vector<sys::UniqueFd> fds;
  };
  sys::UniqueFd socket_;
  MessageReader reader_;
  std::deque<Queued> queue_;
  size_t queued_bytes_ = 0;
};

}  // namespace berth::shim
