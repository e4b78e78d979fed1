#include "runtime/shim/wire.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace berth::shim {
namespace {

constexpr uint32_t kMagic = 0x31485342;  // "BSH1"

// At the head of each packet, in the byte order of the machine: both ends run on it.
struct Header {
  uint32_t magic;
  uint32_t body_size;  // of the whole message
  uint32_t fd_count;   // beside this packet
  uint32_t more;       // 1: another packet of this message follows
};
static_assert(sizeof(Header) == 16);
constexpr size_t kMaxChunk = kMaxPacketBytes - sizeof(Header);

absl::Status Bad(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("malformed packet: ", what));
}

}  // namespace

absl::StatusOr<std::vector<OutPacket>> EncodeMessage(absl::string_view body, absl::Span<const int> fds) {
  if (body.size() > kMaxMessageBytes) {
    return absl::InvalidArgumentError(absl::StrCat("message of ", body.size(), " bytes; at most ", kMaxMessageBytes));
  }
  if (fds.size() > kMaxMessageFds) {
    return absl::InvalidArgumentError(absl::StrCat(fds.size(), " descriptors; at most ", kMaxMessageFds));
  }
  std::vector<OutPacket> packets;
  absl::string_view rest = body;
  do {
    OutPacket& packet = packets.emplace_back();
    const absl::string_view chunk = rest.substr(0, kMaxChunk);
    rest.remove_prefix(chunk.size());
    const absl::Span<const int> some = fds.subspan(0, std::min(fds.size(), sys::kMaxPacketFds));
    fds.remove_prefix(some.size());
    packet.fds.assign(some.begin(), some.end());
    const Header header = {kMagic, static_cast<uint32_t>(body.size()), static_cast<uint32_t>(some.size()),
                           rest.empty() && fds.empty() ? 0u : 1u};
    packet.data.assign(reinterpret_cast<const char*>(&header), sizeof header);
    packet.data.append(chunk.data(), chunk.size());
  } while (!rest.empty() || !fds.empty());
  return packets;
}

absl::StatusOr<std::optional<Message>> MessageReader::Add(sys::Packet packet) {
  Header header;
  if (packet.data.size() < sizeof header) return Bad("short header");
  memcpy(&header, packet.data.data(), sizeof header);
  const absl::string_view chunk = absl::string_view(packet.data).substr(sizeof header);
  if (header.magic != kMagic) return Bad("magic");
  if (header.more > 1) return Bad("flags");
  if (header.body_size > kMaxMessageBytes) return Bad("message too large");
  if (header.fd_count != packet.fds.size()) return Bad("descriptors lost");
  if (partial_.fds.size() + packet.fds.size() > kMaxMessageFds) return Bad("too many descriptors");
  if (!body_begun_) {
    body_begun_ = true;
    body_left_ = header.body_size;
  }
  if (header.body_size != partial_.body.size() + body_left_) return Bad("size changed");
  if (chunk.size() > body_left_) return Bad("more bytes than announced");
  if (header.more && chunk.empty() && packet.fds.empty()) return Bad("empty part");
  partial_.body.append(chunk.data(), chunk.size());
  body_left_ -= static_cast<uint32_t>(chunk.size());
  std::move(packet.fds.begin(), packet.fds.end(), std::back_inserter(partial_.fds));
  if (header.more) return std::optional<Message>();
  if (body_left_ != 0) return Bad("fewer bytes than announced");
  body_begun_ = false;
  return std::optional<Message>(std::exchange(partial_, Message()));
}

absl::Status SendMessage(int socket, absl::string_view body, absl::Span<const int> fds, int flags) {
  ASSIGN_OR_RETURN(std::vector<OutPacket> packets, EncodeMessage(body, fds));
  for (const OutPacket& packet : packets) {
    RETURN_IF_ERROR(sys::SendPacket(socket, packet.data, packet.fds, flags));
  }
  return absl::OkStatus();
}

}  // namespace berth::shim
