#include "cri/network/fake_host.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "cri/network/netns.h"

namespace berth::network {
namespace {

sys::UniqueFd Socket(Protocol protocol) {
  return sys::UniqueFd(socket(AF_INET, (protocol == Protocol::kUdp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
}

sockaddr_in Address(absl::string_view ip, int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  inet_pton(AF_INET, std::string(ip).c_str(), &address.sin_addr);
  return address;
}

void MaybeIn(const Netns* netns, const std::function<void()>& work) {
  if (netns == nullptr) return work();
  (void)RunInNetns(netns->fd(), [&] {
    work();
    return absl::OkStatus();
  });
}

}  // namespace

Netns::Netns() {
  std::thread([this] {
    if (unshare(CLONE_NEWNET) == 0) fd_.Reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
}

std::string Netns::path() const { return absl::StrCat("/proc/", getpid(), "/fd/", fd_.get()); }

std::string Sh(const std::string& command, int* status) {
  FILE* pipe = popen(absl::StrCat("( ", command, " ) 2>&1").c_str(), "re");
  std::string out;
  char buf[4096];
  while (size_t n = fread(buf, 1, sizeof buf, pipe)) out.append(buf, n);
  int code = pclose(pipe);
  if (status != nullptr) *status = WIFEXITED(code) ? WEXITSTATUS(code) : -1;
  return std::string(absl::StripTrailingAsciiWhitespace(out));
}

std::string ShIn(const Netns& netns, const std::string& command, int* status) {
  return Sh(absl::StrCat("nsenter --net=", netns.path(), " sh -c '", command, "'"), status);
}

Server::Server(const Netns* netns, Protocol protocol, int port, absl::string_view ip) {
  MaybeIn(netns, [&] {
    fd_ = Socket(protocol);
    int on = 1;
    setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address = Address(ip, port);
    if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) perror("bind");
    if (protocol == Protocol::kTcp) listen(fd_.get(), 16);
  });
  thread_ = std::thread([this, protocol] { Serve(protocol); });
}

Server::~Server() {
  stop_ = true;
  thread_.join();
}

void Server::Serve(Protocol protocol) {
  while (!stop_) {
    pollfd event = {fd_.get(), POLLIN, 0};
    if (poll(&event, 1, 20) <= 0) continue;
    sockaddr_in peer = {};
    socklen_t size = sizeof peer;
    char text[64] = {};
    sys::UniqueFd connection;
    if (protocol == Protocol::kUdp) {
      if (recvfrom(fd_.get(), text, sizeof text, 0, reinterpret_cast<sockaddr*>(&peer), &size) < 0) continue;
    } else {
      connection.Reset(accept4(fd_.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
      if (!connection) continue;
    }
    inet_ntop(AF_INET, &peer.sin_addr, text, sizeof text);
    if (protocol == Protocol::kUdp) {
      sendto(fd_.get(), text, strlen(text), 0, reinterpret_cast<sockaddr*>(&peer), size);
    } else {
      send(connection.get(), text, strlen(text), MSG_NOSIGNAL);
    }
  }
}

std::string Ask(const Netns* netns, Protocol protocol, absl::string_view ip, int port, int source_port) {
  std::string answer;
  MaybeIn(netns, [&] {
    sys::UniqueFd fd = Socket(protocol);
    timeval limit = {0, 700000};
    setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in from = Address("0.0.0.0", source_port), address = Address(ip, port);
    if (source_port != 0 && bind(fd.get(), reinterpret_cast<sockaddr*>(&from), sizeof from) != 0) perror("bind");
    char text[64] = "?";
    ssize_t n = -1;
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
      if (protocol == Protocol::kUdp) (void)!send(fd.get(), text, 1, 0);
      n = recv(fd.get(), text, sizeof text, 0);
    }
    answer = n >= 0 ? std::string(text, static_cast<size_t>(n)) : absl::StrCat("error: ", strerror(errno));
  });
  return answer;
}

FakeHost::FakeHost() {
  if (unshare(CLONE_NEWNET) != 0) perror("unshare");
  Sh(absl::StrCat("ip link set lo up; ip link add up0 type veth peer name eth0 netns ", outside.path(),
                  "; ip addr add 192.0.2.1/24 dev up0; ip link set up0 up; ip route add default via 192.0.2.2"));
  ShIn(outside, "ip link set lo up; ip addr add 192.0.2.2/24 dev eth0; ip link set eth0 up");
}

}  // namespace berth::network
