// A machine's network for tests: the calling thread moves into a new network namespace that plays the host, so nothing
// of the real machine's network is touched. Pods and the world outside are more namespaces. Needs root.
#pragma once

#include <atomic>
#include <string>
#include <thread>

#include "absl/strings/string_view.h"
#include "cri/network/network.h"
#include "runtime/sys/unique_fd.h"

namespace berth::network {

class Netns {
 public:
  Netns();
  // Valid in other processes for as long as this object lives.
  std::string path() const;
  int fd() const { return fd_.get(); }

 private:
  sys::UniqueFd fd_;
};

// What a shell prints, stdout and stderr, without the last newline. `status` gets the exit code.
std::string Sh(const std::string& command, int* status = nullptr);
std::string ShIn(const Netns& netns, const std::string& command, int* status = nullptr);

// Answers on a port, in a namespace or (nullptr) the calling thread's, with the address that it sees its peer at.
class Server {
 public:
  Server(const Netns* netns, Protocol protocol, int port, absl::string_view address = "0.0.0.0");
  ~Server();

 private:
  void Serve(Protocol protocol);
  sys::UniqueFd fd_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

// What the Server at the address answered, or the error's name. `source_port` 0: any.
std::string Ask(const Netns* netns, Protocol protocol, absl::string_view address, int port, int source_port = 0);

// The fake host, with `outside` behind a veth pair: the host is 192.0.2.1, outside 192.0.2.2.
class FakeHost {
 public:
  FakeHost();
  Netns outside;
};

}  // namespace berth::network
