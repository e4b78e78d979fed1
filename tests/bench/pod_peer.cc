#include "tests/bench/pod_peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <vector>

namespace berth::bench {
namespace {

constexpr size_t kPiece = 256 * 1024;
constexpr int kPatienceMs = 120'000;
constexpr timeval kPatience = {kPatienceMs / 1000, 0};

absl::StatusOr<sys::UniqueFd> ListenOnLoopback() {
  sys::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "socket");
  sockaddr_in at = {};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) return ErrnoError(errno, "bind");
  if (listen(fd.get(), 1) != 0) return ErrnoError(errno, "listen");
  return fd;
}

// A thread that has joined a namespace is of no use for anything else.
absl::StatusOr<sys::UniqueFd> ListenIn(pid_t pid) {
  std::string path = absl::StrCat("/proc/", pid, "/ns/net");
  sys::UniqueFd ns(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!ns) return ErrnoError(errno, absl::StrCat("open '", path, "'"));
  absl::StatusOr<sys::UniqueFd> listener = absl::InternalError("not run");
  std::thread([&] {
    if (setns(ns.get(), CLONE_NEWNET) != 0) {
      listener = ErrnoError(errno, absl::StrCat("setns '", path, "'"));
    } else {
      listener = ListenOnLoopback();
    }
  }).join();
  return listener;
}

absl::Status SendZeroes(int fd, uint64_t bytes) {
  std::vector<char> zeroes(kPiece);
  for (uint64_t left = bytes; left > 0;) {
    ssize_t n = send(fd, zeroes.data(), std::min<uint64_t>(left, kPiece), MSG_NOSIGNAL);
    if (n < 0) return ErrnoError(errno, "send in the pod");
    left -= n;
  }
  return absl::OkStatus();
}

absl::Status ReceiveAll(int fd, uint64_t bytes) {
  std::vector<char> buffer(kPiece);
  for (uint64_t left = bytes; left > 0;) {
    ssize_t n = recv(fd, buffer.data(), std::min<uint64_t>(left, kPiece), 0);
    if (n < 0) return ErrnoError(errno, "read in the pod");
    if (n == 0) return absl::DataLossError(absl::StrCat(left, " of ", bytes, " bytes did not arrive in the pod"));
    left -= n;
  }
  return absl::OkStatus();
}

absl::StatusOr<sys::UniqueFd> Accept(int listener) {
  pollfd wait = {listener, POLLIN, 0};
  if (poll(&wait, 1, kPatienceMs) != 1) return absl::DeadlineExceededError("no connection came into the pod");
  sys::UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd) return ErrnoError(errno, "accept");
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PodPeer>> PodPeer::Listen(pid_t pid) {
  ASSIGN_OR_RETURN(sys::UniqueFd listener, ListenIn(pid));
  sockaddr_in at = {};
  socklen_t size = sizeof at;
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &size) != 0)
    return ErrnoError(errno, "getsockname");
  return std::unique_ptr<PodPeer>(new PodPeer(std::move(listener), ntohs(at.sin_port)));
}

PodPeer::~PodPeer() {
  if (thread_.joinable()) thread_.join();
}

void PodPeer::Send(uint64_t bytes) { Serve(SendZeroes, bytes); }
void PodPeer::Receive(uint64_t bytes) { Serve(ReceiveAll, bytes); }

void PodPeer::Serve(absl::Status (*move)(int fd, uint64_t bytes), uint64_t bytes) {
  thread_ = std::thread([this, move, bytes] {
    auto fd = Accept(listener_.get());
    result_ = fd.ok() ? move(fd->get(), bytes) : fd.status();
  });
}

absl::Status PodPeer::Join() {
  thread_.join();
  return result_;
}

}  // namespace berth::bench
