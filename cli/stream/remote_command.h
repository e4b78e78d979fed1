// A command's streams over v4.channel.k8s.io, joined to our own: exec and attach.
#pragma once

#include <functional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/stream/signal_pipe.h"
#include "cli/stream/spdy_client.h"
#include "runtime/base/status.h"

namespace berth::cli::stream {

inline constexpr char kCommandProtocol[] = "v4.channel.k8s.io";

struct RemoteCommand {
  int in = -1, out = -1, err = -1;  // ours; -1: the command has no such stream
  bool tty = false;                 // then there is no `err`
  int size_of = -1;                 // the terminal whose size the command's is to have; -1: none
  // Passes on what is typed, changed; and whether the command is left to itself now.
  std::function<std::string(absl::string_view)> filter;
  std::function<bool()> detached;
};

struct CommandEnd {
  enum Kind { kEnded, kDetached, kSignal } kind = kEnded;
  int code = 0;  // the command's exit code, or the signal that we got
};

// Until the command has ended and all its output is written, somebody detaches, or SIGINT, SIGTERM or SIGHUP arrives in
// `signals`; SIGWINCH and SIGCONT there pass the terminal's size on. The server has until `deadline` to take the
// streams. EPIPE (ErrnoOf): nobody reads our output any more.
absl::StatusOr<CommandEnd> RunRemoteCommand(SpdyClient& client, const RemoteCommand& command, SignalPipe& signals,
                                            absl::Time deadline);

}  // namespace berth::cli::stream
