#include "cli/stream/connect.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "runtime/sys/unix_socket.h"

namespace berth::cli::stream {
namespace {

constexpr char kSocketName[] = "streaming.sock";

std::string SocketBeside(absl::string_view daemon_socket) {
  size_t slash = daemon_socket.rfind('/');
  return absl::StrCat(slash == absl::string_view::npos ? "" : daemon_socket.substr(0, slash + 1), kSocketName);
}

bool IsSocket(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 && S_ISSOCK(st.st_mode);
}

absl::StatusOr<sys::UniqueFd> ConnectOne(const addrinfo& address, absl::Time deadline) {
  sys::UniqueFd fd(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return fd;
  if (errno != EINPROGRESS) return ErrnoError(errno, "connect");
  RETURN_IF_ERROR(WaitFor(fd.get(), POLLOUT, deadline), "connect");
  int err = 0;
  socklen_t size = sizeof err;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &err, &size);
  if (err != 0) return ErrnoError(err, "connect");
  return fd;
}

absl::StatusOr<sys::UniqueFd> ConnectTcp(const Url& url, absl::Time deadline) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  int rc = getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (rc != 0) return absl::UnavailableError(absl::StrCat("'", url.host, "': ", gai_strerror(rc)));
  std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  absl::Status last = absl::UnavailableError("no address");
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    auto fd = ConnectOne(*a, deadline);
    if (fd.ok()) return fd;
    last = fd.status();
  }
  return last;
}

}  // namespace

absl::Status WaitFor(int fd, short events, absl::Time deadline) {
  for (;;) {
    absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
    pollfd one = {fd, events, 0};
    int n = poll(&one, 1, static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 1 << 30)));
    if (n > 0) return absl::OkStatus();
    if (n < 0 && errno != EINTR) return ErrnoError(errno, "poll");
    if (n == 0 && absl::Now() >= deadline) return absl::DeadlineExceededError("timed out: no answer in time");
  }
}

absl::StatusOr<Url> ParseUrl(absl::string_view text) {
  const absl::Status bad = absl::InvalidArgumentError("the runtime's answer is no http:// or https:// URL");
  Url url;
  size_t scheme = text.find("://");
  if (scheme == absl::string_view::npos) return bad;
  url.scheme = std::string(text.substr(0, scheme));
  if (url.scheme != "http" && url.scheme != "https") return bad;
  for (char c : text) {
    if (c <= ' ' || c == 0x7f || c == '#') return bad;
  }
  absl::string_view rest = text.substr(scheme + 3);
  size_t path = std::min(rest.find_first_of("/?"), rest.size());
  url.authority = std::string(rest.substr(0, path));
  url.target = std::string(rest.substr(path));
  if (!absl::StartsWith(url.target, "/")) url.target.insert(0, "/");

  absl::string_view host = url.authority;
  uint32_t port = url.scheme == "http" ? 80 : 443;
  size_t colon = host.rfind(':');
  if (colon != absl::string_view::npos && !absl::EndsWith(host, "]")) {
    if (!absl::SimpleAtoi(host.substr(colon + 1), &port) || port == 0 || port > 65535) return bad;
    host = host.substr(0, colon);
  }
  if (absl::StartsWith(host, "[") && absl::EndsWith(host, "]")) {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ':')) {
    return bad;
  }
  if (host.empty() || absl::StrContains(host, '@')) return bad;
  url.host = std::string(host);
  url.port = static_cast<uint16_t>(port);
  return url;
}

absl::StatusOr<sys::UniqueFd> Connect(absl::string_view daemon_socket, const Url& url, absl::Time deadline) {
  std::string path = SocketBeside(daemon_socket);
  if (IsSocket(path)) {
    auto fd = sys::ConnectStream(path);
    // A socket that nobody serves was left behind by a daemon that is gone.
    if (fd.ok() || !absl::IsNotFound(fd.status())) return fd;
  }
  if (url.scheme != "http") {
    return absl::UnimplementedError(absl::StrCat("the runtime's streams are at ", url.scheme, "://", url.authority,
                                                 ", and berth speaks no TLS: it needs http, or berthd's socket ",
                                                 path));
  }
  auto fd = ConnectTcp(url, deadline);
  RETURN_IF_ERROR(fd, "cannot reach the runtime's streams at ", url.authority);
  return fd;
}

}  // namespace berth::cli::stream
