#include "runtime/shim/connection.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <cerrno>

namespace berth::shim {

absl::StatusOr<std::optional<Message>> Connection::Read() {
  for (;;) {
    auto packet = sys::RecvPacket(socket_.get(), kMaxPacketBytes, MSG_DONTWAIT);
    if (packet.status().code() == absl::StatusCode::kUnavailable) return std::optional<Message>();
    RETURN_IF_ERROR(packet);
    ASSIGN_OR_RETURN(std::optional<Message> message, reader_.Add(*std::move(packet)));
    if (message) return message;
  }
}

absl::Status Connection::Send(absl::string_view body, absl::Span<const int> fds) {
  ASSIGN_OR_RETURN(std::vector<OutPacket> packets, EncodeMessage(body, fds));
  for (OutPacket& packet : packets) {
    if (queue_.empty()) {
      absl::Status sent = sys::SendPacket(socket_.get(), packet.data, packet.fds, MSG_DONTWAIT);
      if (sent.ok()) continue;
      if (ErrnoOf(sent) != EAGAIN) return sent;
    }
    Queued& queued = queue_.emplace_back();
    for (int fd : packet.fds) queued.fds.emplace_back(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    queued.data = std::move(packet.data);
    queued_bytes_ += queued.data.size();
    if (queued_bytes_ > kMaxQueued) return absl::ResourceExhaustedError("the daemon does not read");
  }
  return absl::OkStatus();
}

absl::Status Connection::Flush() {
  while (!queue_.empty()) {
    const Queued& next = queue_.front();
    std::vector<int> fds;
    for (const sys::UniqueFd& fd : next.fds) fds.push_back(fd.get());
    absl::Status sent = sys::SendPacket(socket_.get(), next.data, fds, MSG_DONTWAIT);
    if (ErrnoOf(sent) == EAGAIN) return absl::OkStatus();
    RETURN_IF_ERROR(sent);
    queued_bytes_ -= next.data.size();
    queue_.pop_front();
  }
  return absl::OkStatus();
}

}  // namespace berth::shim
