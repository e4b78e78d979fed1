#include "runtime/sys/unix_socket.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::sys {
namespace {

// An address may have 107 characters, a state directory more: the directory is named by its descriptor.
absl::StatusOr<sockaddr_un> AddressIn(int dir, absl::string_view name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::string path = absl::StrCat("/proc/self/fd/", dir, "/", name);
  if (!IsSafeName(name) || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket name '", name, "'"));
  }
  memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<UniqueFd> MakeSocket() {
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "socket");
  return fd;
}

}  // namespace

absl::StatusOr<std::pair<UniqueFd, UniqueFd>> SeqpacketPair() {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0) return ErrnoError(errno, "socketpair");
  return std::make_pair(UniqueFd(fds[0]), UniqueFd(fds[1]));
}

absl::StatusOr<UniqueFd> ListenSeqpacket(int dir, absl::string_view name) {
  ASSIGN_OR_RETURN(sockaddr_un address, AddressIn(dir, name));
  std::string file(name);
  if (unlinkat(dir, file.c_str(), 0) != 0 && errno != ENOENT) {
    return ErrnoError(errno, absl::StrCat("unlink '", name, "'"));
  }
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoError(errno, absl::StrCat("bind '", name, "'"));
  }
  if (fchmodat(dir, file.c_str(), 0600, 0) != 0) return ErrnoError(errno, absl::StrCat("chmod '", name, "'"));
  if (listen(fd.get(), 16) != 0) return ErrnoError(errno, absl::StrCat("listen '", name, "'"));
  return fd;
}

absl::StatusOr<UniqueFd> ConnectSeqpacket(int dir, absl::string_view name) {
  ASSIGN_OR_RETURN(sockaddr_un address, AddressIn(dir, name));
  ASSIGN_OR_RETURN(UniqueFd fd, MakeSocket());
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ECONNREFUSED || errno == ENOENT) {
      return absl::NotFoundError(absl::StrCat("nobody listens at '", name, "'"));
    }
    return ErrnoError(errno, absl::StrCat("connect '", name, "'"));
  }
  return fd;
}

absl::StatusOr<UniqueFd> ConnectStream(absl::string_view path) {
  ASSIGN_OR_RETURN(UniqueFd file, Open(path, O_PATH));
  // Through the descriptor, since an address has room for 107 bytes.
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string link = absl::StrCat("/proc/self/fd/", file.get());
  memcpy(address.sun_path, link.c_str(), link.size() + 1);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  const int err = errno;
  if (err == ECONNREFUSED) return absl::NotFoundError(absl::StrCat("nobody listens at '", path, "'"));
  if (err == EAGAIN) return absl::UnavailableError(absl::StrCat("'", path, "' takes no more connections"));
  if (err == EPROTOTYPE) return absl::InvalidArgumentError(absl::StrCat("'", path, "' is not a socket of streams"));
  return ErrnoError(err, absl::StrCat("connect '", path, "'"));
}

absl::StatusOr<UniqueFd> AcceptConnection(int listener) {
  for (;;) {
    UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) return fd;
    if (errno == EAGAIN) return absl::NotFoundError("no connection waits");
    if (errno != EINTR && errno != ECONNABORTED) return ErrnoError(errno, "accept4");
  }
}

absl::StatusOr<struct ucred> PeerCredentials(int socket) {
  struct ucred peer = {};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return ErrnoError(errno, "SO_PEERCRED");
  return peer;
}

absl::Status SendPacket(int socket, absl::string_view data, absl::Span<const int> fds, int flags) {
  if (fds.size() > kMaxPacketFds) return absl::InvalidArgumentError("too many descriptors in one packet");
  iovec io = {const_cast<char*>(data.data()), data.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPacketFds)];
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    memset(control, 0, message.msg_controllen);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ssize_t n;
  while ((n = sendmsg(socket, &message, flags | MSG_NOSIGNAL)) < 0 && errno == EINTR) {
  }
  if (n >= 0) return absl::OkStatus();
  const int err = errno;
  const absl::Status status = ErrnoError(err, "sendmsg");
  if (err != EPIPE && err != ECONNRESET && err != EAGAIN) return status;
  absl::Status gone(absl::StatusCode::kUnavailable, status.message());
  status.ForEachPayload([&](absl::string_view type, const absl::Cord& p) { gone.SetPayload(type, p); });
  return gone;
}

absl::StatusOr<Packet> RecvPacket(int socket, size_t limit, int flags) {
  ssize_t size;
  while ((size = recv(socket, nullptr, 0, flags | MSG_PEEK | MSG_TRUNC)) < 0 && errno == EINTR) {
  }
  if (size < 0 && errno == EAGAIN) return absl::UnavailableError("no packet waits");
  Packet packet;
  if (size > 0) packet.data.resize(std::min(static_cast<size_t>(size), limit));
  iovec io = {packet.data.data(), packet.data.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxPacketFds)];
  msghdr message = {};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  while ((n = recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (n < 0 && errno == EAGAIN) return absl::UnavailableError("no packet waits");
  if (n < 0 && errno == ECONNRESET) return absl::OutOfRangeError("connection reset");
  if (n < 0) return ErrnoError(errno, "recvmsg");
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      packet.fds.emplace_back(fd);
    }
  }
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) return absl::ResourceExhaustedError("packet too large");
  if (n == 0 && packet.fds.empty()) return absl::OutOfRangeError("end of connection");
  packet.data.resize(static_cast<size_t>(n));
  return packet;
}

}  // namespace berth::sys
