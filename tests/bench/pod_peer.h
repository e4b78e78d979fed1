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
  // Takes one connection, on a thread of its own: sends `bytes` zeroes and the end, or with 0 reads up to the end and
  // then ends it too. One at a time.
  void Serve(uint64_t bytes);
  // When that connection is over: how many bytes were read or sent. For two minutes at most.
  absl::StatusOr<uint64_t> Join();

 private:
  PodPeer(sys::UniqueFd listener, uint16_t port) : listener_(std::move(listener)), port_(port) {}

  sys::UniqueFd listener_;
  uint16_t port_;
  std::thread thread_;
  absl::StatusOr<uint64_t> moved_ = 0;  // the thread's until it is joined
};

}  // namespace berth::bench
