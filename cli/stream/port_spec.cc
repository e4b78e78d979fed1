#include "cli/stream/port_spec.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth::cli::stream {
namespace {

constexpr char kLocalhost[] = "localhost";

bool IsNumber(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isdigit(c); });
}

absl::StatusOr<uint16_t> ParsePort(absl::string_view text, uint32_t least) {
  uint32_t port = 0;
  if (!IsNumber(text) || !absl::SimpleAtoi(text, &port) || port < least || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no port"));
  }
  return static_cast<uint16_t>(port);
}

union Address {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

// The length, 0 for what is no address.
socklen_t ToAddress(const std::string& text, uint16_t port, Address* out) {
  *out = {};
  if (inet_pton(AF_INET, text.c_str(), &out->v4.sin_addr) == 1) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons(port);
    return sizeof out->v4;
  }
  if (inet_pton(AF_INET6, text.c_str(), &out->v6.sin6_addr) == 1) {
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = htons(port);
    return sizeof out->v6;
  }
  return 0;
}

absl::StatusOr<Listener> ListenOn(const std::string& address, uint16_t port, uint16_t remote) {
  Address wire;
  socklen_t size = ToAddress(address, port, &wire);
  if (size == 0) return absl::InvalidArgumentError(absl::StrCat("'", address, "' is no IP address"));
  bool v6 = wire.any.sa_family == AF_INET6;
  std::string host = v6 ? absl::StrCat("[", address, "]") : address;
  sys::UniqueFd fd(socket(wire.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoError(errno, "socket");
  int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (v6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
  if (bind(fd.get(), &wire.any, size) != 0 || listen(fd.get(), SOMAXCONN) != 0 ||
      getsockname(fd.get(), &wire.any, &size) != 0) {
    return ErrnoError(errno, absl::StrCat("listening on ", host, ":", port));
  }
  uint16_t local = ntohs(v6 ? wire.v6.sin6_port : wire.v4.sin_port);
  return Listener{std::move(fd), absl::StrCat(host, ":", local), address, local, remote};
}

bool NoSuchAddress(const absl::Status& status) {
  int err = ErrnoOf(status);
  return err == EAFNOSUPPORT || err == EADDRNOTAVAIL;
}

absl::StatusOr<std::vector<Listener>> ListenOnLocalhost(uint16_t port, uint16_t remote) {
  std::vector<Listener> both;
  auto v4 = ListenOn("127.0.0.1", port, remote);
  if (!v4.ok() && !NoSuchAddress(v4.status())) return v4.status();
  if (v4.ok()) both.push_back(*std::move(v4));
  auto v6 = ListenOn("::1", both.empty() ? port : both[0].local, remote);
  if (!v6.ok() && (both.empty() || !NoSuchAddress(v6.status()))) return v6.status();
  if (v6.ok()) both.push_back(*std::move(v6));
  return both;
}

}  // namespace

absl::StatusOr<PortSpec> ParsePortSpec(absl::string_view text) {
  PortSpec spec;
  absl::string_view rest = text;
  if (absl::StartsWith(rest, "[")) {
    size_t end = rest.find("]:");
    if (end == absl::string_view::npos) return absl::InvalidArgumentError(absl::StrCat("'", text, "': no ']:'"));
    spec.address = std::string(rest.substr(1, end - 1));
    rest = rest.substr(end + 2);
  }
  std::vector<absl::string_view> parts = absl::StrSplit(rest, ':');
  if (spec.address.empty() && parts.size() > 1 && !parts[0].empty() && !IsNumber(parts[0])) {
    spec.address = std::string(parts[0]);
    parts.erase(parts.begin());
  }
  Address unused;
  if (!spec.address.empty() && spec.address != kLocalhost && ToAddress(spec.address, 0, &unused) == 0) {
    return absl::InvalidArgumentError(absl::StrCat("'", spec.address, "' is no IP address"));
  }
  if (parts.size() > 2) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not [ADDRESS:][LOCAL:]REMOTE"));
  }
  ASSIGN_OR_RETURN(spec.remote, ParsePort(parts.back(), 1));
  spec.local = spec.remote;
  if (parts.size() == 2) {
    spec.local = 0;
    if (!parts[0].empty()) {
      ASSIGN_OR_RETURN(spec.local, ParsePort(parts[0], 0));
    }
  }
  return spec;
}

absl::StatusOr<std::vector<Listener>> Listen(const PortSpec& spec) {
  if (spec.address != kLocalhost) {
    ASSIGN_OR_RETURN(Listener one, ListenOn(spec.address, spec.local, spec.remote));
    std::vector<Listener> list;
    list.push_back(std::move(one));
    return list;
  }
  // A free port of one loopback may be taken on the other.
  constexpr int kAttempts = 20;
  for (int attempt = 1;; ++attempt) {
    auto both = ListenOnLocalhost(spec.local, spec.remote);
    bool taken = ErrnoOf(both.status()) == EADDRINUSE;
    if (both.ok() || !taken || spec.local != 0 || attempt == kAttempts) return both;
  }
}

}  // namespace berth::cli::stream
