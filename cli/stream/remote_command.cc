#include "cli/stream/remote_command.h"

#include <signal.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/stream/command_status.h"
#include "cli/stream/terminal.h"

namespace berth::cli::stream {
namespace {

class Runner {
 public:
  Runner(SpdyClient& client, const RemoteCommand& command, SignalPipe& signals)
      : client_(client), command_(command), signals_(signals) {}

  absl::Status OpenStreams() {
    ASSIGN_OR_RETURN(error_, Open("error", {}));
    if (command_.in >= 0) RETURN_IF_ERROR(Open("stdin", {.source = command_.in, .filter = command_.filter}));
    if (command_.out >= 0) RETURN_IF_ERROR(Open("stdout", {.sink = command_.out}));
    if (command_.err >= 0) RETURN_IF_ERROR(Open("stderr", {.sink = command_.err}));
    if (command_.tty) {
      ASSIGN_OR_RETURN(resize_, Open("resize", {}));
      SendSize();
    }
    return absl::OkStatus();
  }

  absl::StatusOr<CommandEnd> Run(absl::Time deadline) {
    while (!AllReceived()) {
      bool taken = AllTaken();
      if (!taken && absl::Now() >= deadline) {
        return absl::DeadlineExceededError("timed out: the streaming server does not take the command's streams");
      }
      pollfd signals = {signals_.fd(), POLLIN, 0};
      RETURN_IF_ERROR(client_.Step(absl::MakeSpan(&signals, 1), taken ? absl::InfiniteFuture() : deadline));
      if (command_.detached && command_.detached()) return CommandEnd{CommandEnd::kDetached, 0};
      if (int number = HandleSignals()) return CommandEnd{CommandEnd::kSignal, number};
      RETURN_IF_ERROR(CheckStreams());
    }
    ASSIGN_OR_RETURN(int code, ParseCommandStatus(client_.state(error_).text));
    return CommandEnd{CommandEnd::kEnded, code};
  }

 private:
  struct Opened {
    std::string type;
    spdy::StreamId id;
  };

  absl::StatusOr<spdy::StreamId> Open(const char* type, Joint joint) {
    ASSIGN_OR_RETURN(spdy::StreamId id, client_.Open({{"streamtype", type}}, std::move(joint)));
    opened_.push_back({type, id});
    return id;
  }

  bool AllTaken() const {
    for (const Opened& stream : opened_) {
      if (!client_.state(stream.id).replied) return false;
    }
    return true;
  }

  // What the command has said, with how it ended.
  bool AllReceived() const {
    for (const Opened& stream : opened_) {
      bool output = stream.type != "stdin" && stream.type != "resize";
      if (output && !client_.state(stream.id).received_all) return false;
    }
    return true;
  }

  absl::Status CheckStreams() const {
    for (const Opened& stream : opened_) {
      const StreamState& state = client_.state(stream.id);
      RETURN_IF_ERROR(state.sink_error, stream.type);
      RETURN_IF_ERROR(state.source_error, stream.type);
      if (state.reset && !state.replied && !client_.closed()) {
        return absl::InternalError(absl::StrCat("the streaming server refuses the command's stream ", stream.type));
      }
    }
    return absl::OkStatus();
  }

  void SendSize() {
    auto size = command_.size_of >= 0 ? SizeOf(command_.size_of) : std::nullopt;
    if (!command_.tty || !size) return;
    client_.Send(resize_, absl::StrCat("{\"Width\":", size->columns, ",\"Height\":", size->rows, "}\n"));
  }

  // The one that ends us, else 0.
  int HandleSignals() {
    while (int number = signals_.Next()) {
      if (number != SIGWINCH && number != SIGCONT) return number;
      SendSize();
    }
    return 0;
  }

  SpdyClient& client_;
  const RemoteCommand& command_;
  SignalPipe& signals_;
  std::vector<Opened> opened_;
  spdy::StreamId error_ = 0, resize_ = 0;
};

}  // namespace

absl::StatusOr<CommandEnd> RunRemoteCommand(SpdyClient& client, const RemoteCommand& command, SignalPipe& signals,
                                            absl::Time deadline) {
  Runner runner(client, command, signals);
  RETURN_IF_ERROR(runner.OpenStreams());
  return runner.Run(deadline);
}

}  // namespace berth::cli::stream
