// What the streaming server asks of the rest of the daemon: commands with descriptors for their streams, and sockets
// inside pods. docs/design/0036-streaming.md.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::streaming {

// What a URL stands for. Ids are whole, and were good when the URL was made.
struct ExecRequest {
  std::string container_id;
  std::vector<std::string> argv;
  bool tty = false, in = false, out = false, err = false;
};
struct AttachRequest {
  std::string container_id;
  bool tty = false, in = false, out = false, err = false;
};
struct PortForwardRequest {
  std::string pod_id;
  std::vector<uint16_t> ports;  // for clients that name none themselves
};
using Request = std::variant<ExecRequest, AttachRequest, PortForwardRequest>;

// The streams that a command is asked for with. `request` is an ExecRequest or AttachRequest.
struct StreamFlags {
  bool tty = false, in = false, out = false, err = false;
};
inline StreamFlags StreamsOf(const Request& request) {
  if (const auto* exec = std::get_if<ExecRequest>(&request)) return {exec->tty, exec->in, exec->out, exec->err};
  const auto& attach = std::get<AttachRequest>(request);
  return {attach.tty, attach.in, attach.out, attach.err};
}

// How a command ended. Of an attached container the code is 0: its status has the real one.
struct CommandEnd {
  int exit_code = 0;  // 128 + signal for a signal
};

// A command that runs: an exec, or a container that was attached to. The descriptors are ours alone, close-on-exec and
// non-blocking; whoever owns the Command may close them.
class Command {
 public:
  // The client is gone, or the command has ended. An exec that still runs is hung up (SIGHUP to its tree), and killed a
  // little later; an attached container goes on, its output is not copied any more. Does not block.
  virtual ~Command() = default;

  sys::UniqueFd in;        // takes what the client types: a pipe, or the terminal
  sys::UniqueFd out, err;  // a pipe, or the terminal (out alone). At the end of an attached container: end of file
  sys::UniqueFd terminal;  // the master, for its size: `in` may be closed, and `out` of an attached container is a pipe

  // The client's input has ended. Closes `in`; what that means to the container is the backend's to know: the input of
  // an exec ends, a terminal gets its end-of-file character, a container's input ends if it was asked for once only.
  // Does not block.
  virtual void EndInput() = 0;
};

// Thread-safe. Calls may block, but never for longer than a shim takes to answer.
class Backend {
 public:
  // Called exactly once, from any thread, also before the call that was given it has returned; must not block. Not
  // called when the call fails. An error says why nobody knows how the command ended.
  using Done = std::function<void(absl::StatusOr<CommandEnd>)>;

  virtual ~Backend() = default;
  // NotFound, FailedPrecondition (not running), and what execute(2) says of the program.
  virtual absl::StatusOr<std::unique_ptr<Command>> Exec(const ExecRequest& request, Done done) = 0;
  virtual absl::StatusOr<std::unique_ptr<Command>> Attach(const AttachRequest& request, Done done) = 0;
  // A non-blocking TCP socket of `family` (AF_INET or AF_INET6) in the pod's network namespace, not connected.
  // NotFound, FailedPrecondition (the pod is not ready), Unavailable with EAFNOSUPPORT.
  virtual absl::StatusOr<sys::UniqueFd> OpenSocket(const std::string& pod_id, int family) = 0;
};

}  // namespace berth::streaming
