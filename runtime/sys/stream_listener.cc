#include "runtime/sys/stream_listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "runtime/sys/unix_socket.h"

namespace berth::sys {
namespace {

constexpr int kBacklog = 128;

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr_in& v4() const { return reinterpret_cast<const sockaddr_in&>(storage); }
  const sockaddr_in6& v6() const { return reinterpret_cast<const sockaddr_in6&>(storage); }
};

absl::StatusOr<Address> ParseAddress(absl::string_view text, uint16_t port) {
  const std::string literal(text);
  Address address;
  auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
  if (inet_pton(AF_INET, literal.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address.size = sizeof v4;
  } else if (inet_pton(AF_INET6, literal.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    address.size = sizeof v6;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is neither an IPv4 nor an IPv6 address"));
  }
  return address;
}

absl::Status SetOption(int socket, int level, int option, int value, absl::string_view name) {
  if (setsockopt(socket, level, option, &value, sizeof value) != 0) return ErrnoError(errno, name);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> IsLoopback(absl::string_view text) {
  ASSIGN_OR_RETURN(const Address address, ParseAddress(text, 0));
  if (address.storage.ss_family == AF_INET) return ntohl(address.v4().sin_addr.s_addr) >> 24 == 127;
  return static_cast<bool>(IN6_IS_ADDR_LOOPBACK(&address.v6().sin6_addr));
}

absl::StatusOr<UniqueFd> ListenTcp(absl::string_view text, uint16_t port) {
  ASSIGN_OR_RETURN(Address address, ParseAddress(text, port));
  UniqueFd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  RETURN_IF_ERROR(SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR"));
  if (bind(fd.get(), address.get(), address.size) != 0 || listen(fd.get(), kBacklog) != 0) {
    const int err = errno;
    const absl::Status status = ErrnoError(err, absl::StrCat("listen on ", text, " port ", port));
    return err == EADDRINUSE ? absl::UnavailableError(status.message()) : status;
  }
  return fd;
}

absl::StatusOr<uint16_t> LocalPort(int socket) {
  Address address;
  address.size = sizeof address.storage;
  if (getsockname(socket, address.get(), &address.size) != 0) return ErrnoError(errno, "getsockname");
  if (address.storage.ss_family == AF_INET) return ntohs(address.v4().sin_port);
  if (address.storage.ss_family == AF_INET6) return ntohs(address.v6().sin6_port);
  return absl::InvalidArgumentError("not a TCP socket");
}

absl::Status RemoveStaleSocket(absl::string_view text) {
  const std::string path(text);
  if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("a socket's path has 1 to 107 bytes, not ", path.size()));
  }
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoError(errno, absl::StrCat("stat '", path, "'"));
  }
  if (!S_ISSOCK(found.st_mode)) return absl::AlreadyExistsError(absl::StrCat("'", path, "' is not a socket"));
  const auto peer = ConnectStream(path);
  if (peer.ok()) return absl::UnavailableError(absl::StrCat("somebody else listens at '", path, "'"));
  if (!absl::IsNotFound(peer.status())) return peer.status();
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, absl::StrCat("unlink '", path, "'"));
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ListenUnixStream(absl::string_view text) {
  RETURN_IF_ERROR(RemoveStaleSocket(text));
  const std::string path(text);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  // bind(2) gives the file the mode of the socket's inode: there is no moment at which it has another one.
  if (fchmod(fd.get(), 0600) != 0) return ErrnoError(errno, absl::StrCat("chmod of the socket '", path, "'"));
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoError(errno, absl::StrCat("bind '", path, "'"));
  }
  if (listen(fd.get(), kBacklog) != 0) return ErrnoError(errno, absl::StrCat("listen '", path, "'"));
  return fd;
}

absl::Status SetInteractive(int connection, absl::Duration idle) {
  int domain = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(connection, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) return ErrnoError(errno, "SO_DOMAIN");
  if (domain == AF_UNIX) return absl::OkStatus();
  RETURN_IF_ERROR(SetOption(connection, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY"));
  RETURN_IF_ERROR(SetOption(connection, SOL_SOCKET, SO_KEEPALIVE, 1, "SO_KEEPALIVE"));
  const int seconds = static_cast<int>(absl::ToInt64Seconds(idle));
  RETURN_IF_ERROR(SetOption(connection, IPPROTO_TCP, TCP_KEEPIDLE, seconds, "TCP_KEEPIDLE"));
  RETURN_IF_ERROR(SetOption(connection, IPPROTO_TCP, TCP_KEEPINTVL, 10, "TCP_KEEPINTVL"));
  return SetOption(connection, IPPROTO_TCP, TCP_KEEPCNT, 4, "TCP_KEEPCNT");
}

}  // namespace berth::sys
