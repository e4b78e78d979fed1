// SOCK_SEQPACKET unix sockets: whole packets in order, with descriptors beside them (unix(7), SCM_RIGHTS).
// Thread-safe, except that packets of one socket keep their order only when one thread sends.
#pragma once

#include <sys/socket.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// What the kernel allows in one packet (SCM_MAX_FD is 253).
inline constexpr size_t kMaxPacketFds = 250;

// A connected pair, blocking, close-on-exec.
absl::StatusOr<std::pair<UniqueFd, UniqueFd>> SeqpacketPair();

// Listens at `name` in the directory `dir`, mode 0600, after removing what stood there. The directory must be ours
// alone (0700): that, not the socket's mode, protects the moment before chmod. Non-blocking.
absl::StatusOr<UniqueFd> ListenSeqpacket(int dir, absl::string_view name);

// Connects to it. NotFound when nobody listens there.
absl::StatusOr<UniqueFd> ConnectSeqpacket(int dir, absl::string_view name);

// Connects to a stream socket by host path. Non-blocking, also for the connecting: a listener whose queue is full is
// Unavailable. NotFound when nobody listens there; InvalidArgument when it is no socket of streams.
absl::StatusOr<UniqueFd> ConnectStream(absl::string_view path);

// The next connection. NotFound when none waits. The connection is non-blocking.
absl::StatusOr<UniqueFd> AcceptConnection(int listener);

absl::StatusOr<struct ucred> PeerCredentials(int socket);

// One packet. `flags` may hold MSG_DONTWAIT. Unavailable: the peer is gone, or (EAGAIN) its queue is full.
absl::Status SendPacket(int socket, absl::string_view data, absl::Span<const int> fds, int flags = 0);

struct Packet {
  std::string data;
  std::vector<UniqueFd> fds;
};
// One packet of up to `limit` bytes; OutOfRange at the end of the connection, ResourceExhausted when it (or its
// descriptors) did not fit and was lost, Unavailable (EAGAIN) when none waits and MSG_DONTWAIT is set.
absl::StatusOr<Packet> RecvPacket(int socket, size_t limit, int flags = 0);

}  // namespace berth::sys
