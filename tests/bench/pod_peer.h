// The other end of forwarded connections: a listener on loopback in a pod's network namespace, served by this process.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <thread>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::bench {

class PodPeer {
 public:
  // In the network namespace of process `pid`.
  static absl::StatusOr<std::unique_ptr<PodPeer>> Listen(pid_t pid);
  ~PodPeer();  // waits for the connection that is served

  uint16_t port() const { return port_; }
  // Each takes one connection, on a thread of its own, and closes it when so many bytes were sent or have come. One at
  // a time.
  void Send(uint64_t bytes);
  void Receive(uint64_t bytes);
  // When that connection is over. For two minutes at most.
  absl::Status Join();

 private:
  PodPeer(sys::UniqueFd listener, uint16_t port) : listener_(std::move(listener)), port_(port) {}
  void Serve(absl::Status (*move)(int fd, uint64_t bytes), uint64_t bytes);

  sys::UniqueFd listener_;
  uint16_t port_;
  std::thread thread_;
  absl::Status result_;  // the thread's until it is joined
};

}  // namespace berth::bench
