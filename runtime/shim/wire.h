// Framing between daemon, zygote and shim: docs/formats/shim.md. A message is bytes and descriptors; it travels as one
// packet, or as several when it is larger than a packet may be. The codec knows no sockets.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"
#include "runtime/sys/unix_socket.h"

namespace berth::shim {

inline constexpr uint32_t kProtocolVersion = 1;
inline constexpr size_t kMaxPacketBytes = 64 * 1024;  // header included
inline constexpr size_t kMaxMessageBytes = 8u << 20;  // environments of large namespaces take megabytes
inline constexpr size_t kMaxMessageFds = 4096;

struct Message {
  std::string body;
  std::vector<sys::UniqueFd> fds;
};

// One packet as it goes out.
struct OutPacket {
  std::string data;
  std::vector<int> fds;  // borrowed
};
// The packets of a message. InvalidArgument when it is over a limit above.
absl::StatusOr<std::vector<OutPacket>> EncodeMessage(absl::string_view body, absl::Span<const int> fds);

// Puts messages together. After an error the connection is of no further use.
class MessageReader {
 public:
  // The message that this packet completes, if it does. InvalidArgument for a packet that is none of ours or over a
  // limit.
  absl::StatusOr<std::optional<Message>> Add(sys::Packet packet);

 private:
  Message partial_;
  bool body_begun_ = false;
  uint32_t body_left_ = 0;
};

// Blocking send of a whole message. `flags` as in SendPacket.
absl::Status SendMessage(int socket, absl::string_view body, absl::Span<const int> fds, int flags = 0);

}  // namespace berth::shim
