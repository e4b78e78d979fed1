#include "cli/commands/streamed.h"

#include <signal.h>

#include <cerrno>
#include <ostream>
#include <utility>

#include "absl/time/clock.h"
#include "cli/resolve.h"
#include "cli/stream/connect.h"
#include "cli/stream/detach_keys.h"
#include "cli/stream/remote_command.h"
#include "cli/stream/signal_pipe.h"
#include "cli/stream/terminal.h"
#include "cli/stream/upgrade.h"

namespace berth::cli {
namespace {

constexpr absl::Duration kHandshake = absl::Seconds(30);

absl::Time HandshakeDeadline(const Session& session) {
  return absl::Now() + session.options.timeout.value_or(kHandshake);
}

// While it lives, signals go into a pipe, and raw mode is left before the program ends or stops.
class SignalsOf {
 public:
  SignalsOf(Session& session, std::shared_ptr<stream::SignalPipe> pipe, std::shared_ptr<stream::RawMode> raw)
      : session_(session), raw_(raw) {
    session.HandleSignals([pipe, raw](int signal) {
      if (raw && signal == SIGTSTP) raw->Suspend();
      if (raw && signal == SIGCONT) raw->Enter();
      if (raw && signal != SIGTSTP && signal != SIGCONT && signal != SIGWINCH) raw->Leave();
      if (signal != SIGTSTP) pipe->Push(signal);
    });
    if (raw_) raw_->Enter();
  }
  ~SignalsOf() {
    if (raw_) raw_->Leave();
    session_.HandleSignals(nullptr);
  }
  SignalsOf(const SignalsOf&) = delete;
  SignalsOf& operator=(const SignalsOf&) = delete;

 private:
  Session& session_;
  std::shared_ptr<stream::RawMode> raw_;
};

}  // namespace

absl::StatusOr<ContainerInfo> FindContainer(CriClient& client, absl::string_view word) {
  ASSIGN_OR_RETURN(std::vector<PodInfo> pods, client.ListPods());
  ASSIGN_OR_RETURN(std::vector<ContainerInfo> containers, client.ListContainers());
  return ResolveContainer(word, pods, containers);
}

absl::StatusOr<std::unique_ptr<stream::SpdyClient>> OpenStreams(Session& session, const std::string& text,
                                                                absl::string_view protocol) {
  ASSIGN_OR_RETURN(stream::Url url, stream::ParseUrl(text));
  absl::Time deadline = HandshakeDeadline(session);
  ASSIGN_OR_RETURN(sys::UniqueFd socket, stream::Connect(session.options.socket, url, deadline));
  ASSIGN_OR_RETURN(std::string early, stream::Upgrade(socket.get(), url, protocol, deadline));
  return std::make_unique<stream::SpdyClient>(std::move(socket), std::move(early));
}

absl::StatusOr<StreamedEnd> RunStreamed(Session& session, const Streamed& streamed) {
  ASSIGN_OR_RETURN(auto client, OpenStreams(session, streamed.url, stream::kCommandProtocol));
  ASSIGN_OR_RETURN(std::shared_ptr<stream::SignalPipe> signals, stream::SignalPipe::Create());
  stream::RemoteCommand command;
  if (streamed.streams.in) command.in = session.io.in_fd;
  if (streamed.streams.out) command.out = session.io.out_fd;
  if (streamed.streams.err) command.err = session.io.err_fd;
  command.tty = streamed.streams.tty;

  std::shared_ptr<stream::RawMode> raw;
  stream::DetachKeys keys(streamed.detach_keys);
  if (streamed.streams.tty) {
    command.size_of = stream::SizeOf(session.io.out_fd) ? session.io.out_fd : session.io.in_fd;
    if (streamed.streams.in && session.io.in_is_terminal) {
      ASSIGN_OR_RETURN(raw, stream::RawMode::For(session.io.in_fd), "stdin");
      command.filter = [&keys](absl::string_view typed) { return keys.Filter(typed); };
      command.detached = [&keys] { return keys.detached(); };
    }
  }
  session.io.out << std::flush;
  // A reader of our output that goes away is an error to see, not the end of the program with the terminal raw.
  signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<stream::CommandEnd> end;
  {
    SignalsOf handled(session, signals, raw);
    end = stream::RunRemoteCommand(*client, command, *signals, HandshakeDeadline(session));
  }
  if (ErrnoOf(end.status()) == EPIPE) return StreamedEnd{.cut = true, .exit_code = 128 + SIGPIPE};
  bool missing = absl::IsNotFound(end.status());
  if (missing || absl::IsPermissionDenied(end.status())) {
    return StreamedEnd{.exit_code = missing ? 127 : 126, .failure = std::string(end.status().message())};
  }
  RETURN_IF_ERROR(end);
  switch (end->kind) {
    case stream::CommandEnd::kDetached:
      return StreamedEnd{.detached = true};
    case stream::CommandEnd::kSignal:
      return StreamedEnd{.cut = true, .exit_code = 128 + end->code};
    case stream::CommandEnd::kEnded:
      break;
  }
  return StreamedEnd{.exit_code = end->code};
}

}  // namespace berth::cli
