#include "tests/bench/stream_side.h"

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "tests/bench/pod_peer.h"
#include "tests/bench/stream_client.h"

namespace berth::bench {
namespace {

using StreamId = StreamClient::StreamId;

// The shell keeps standard output open: containerd ends a command's input together with its output.
constexpr char kTakeAll[] = "cat >/dev/null; exit $?";

// What the runtime has used once all that was begun is done: all of the tree but the container.
absl::StatusOr<absl::Duration> RuntimeCpu(const Side& side, const ProcessTree& container) {
  RETURN_IF_ERROR(side.tree->Settle());
  ASSIGN_OR_RETURN(absl::Duration all, side.tree->Cpu());
  ASSIGN_OR_RETURN(absl::Duration workload, container.Cpu());
  return all - workload;
}

struct Session {
  std::unique_ptr<StreamClient> client;
  StreamId data = 0, error = 0;
};

absl::StatusOr<Session> OpenExec(const Side& side, const RunningPod& pod, const std::string& script, bool in) {
  ASSIGN_OR_RETURN(std::string url, side.client->Exec(pod.container(), {"sh", "-c", script}, in));
  Session session;
  ASSIGN_OR_RETURN(session.client, StreamClient::Dial(url, "v4.channel.k8s.io"));
  ASSIGN_OR_RETURN(session.error, session.client->Open({{"streamtype", "error"}}));
  if (in) {
    ASSIGN_OR_RETURN(session.data, session.client->Open({{"streamtype", "stdin"}}));
  }
  ASSIGN_OR_RETURN(StreamId out, session.client->Open({{"streamtype", "stdout"}}));
  if (!in) session.data = out;
  return session;
}

// The command has ended, and well.
absl::Status EndExec(Session& session) {
  RETURN_IF_ERROR(session.client->AwaitEnd(session.error));
  const std::string& status = session.client->text(session.error);
  if (absl::StrContains(status, "Success")) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("the command failed: ", status));
}

absl::StatusOr<Session> OpenForward(const Side& side, const RunningPod& pod, uint16_t port) {
  ASSIGN_OR_RETURN(std::string url, side.client->PortForward(pod.pod(), port));
  Session session;
  ASSIGN_OR_RETURN(session.client, StreamClient::Dial(url, "portforward.k8s.io"));
  std::string number = absl::StrCat(port);
  ASSIGN_OR_RETURN(session.error,
                   session.client->Open({{"port", number}, {"requestid", "0"}, {"streamtype", "error"}}, /*fin=*/true));
  ASSIGN_OR_RETURN(session.data, session.client->Open({{"port", number}, {"requestid", "0"}, {"streamtype", "data"}}));
  return session;
}

class StreamRound {
 public:
  StreamRound(Side& side, const RunningPod& pod, uint64_t bytes) : side_(side), pod_(pod), bytes_(bytes) {}

  absl::Status Run() {
    if (side_.tree) {
      ASSIGN_OR_RETURN(container_, side_.tree->Below(pod_.container()));
    }
    RETURN_IF_ERROR(Time(
        "exec_out",
        [&] {
          return OpenExec(side_, pod_, absl::StrCat("dd if=/dev/zero bs=65536 count=", bytes_ / 65536, " 2>/dev/null"),
                          false);
        },
        [&](Session& s) {
          RETURN_IF_ERROR(s.client->Receive(s.data, bytes_));
          return EndExec(s);
        }));
    RETURN_IF_ERROR(Time(
        "exec_in", [&] { return OpenExec(side_, pod_, kTakeAll, true); },
        [&](Session& s) {
          RETURN_IF_ERROR(s.client->Send(s.data, bytes_));
          return EndExec(s);
        }));
    return side_.tree ? Forward() : absl::OkStatus();
  }

 private:
  // The pod's namespace is found by a process of the container.
  absl::Status Forward() {
    ASSIGN_OR_RETURN(auto processes, container_->Processes());
    if (processes.empty()) return absl::FailedPreconditionError("the container has no process");
    ASSIGN_OR_RETURN(auto peer, PodPeer::Listen(processes.front().pid));
    auto open = [&] { return OpenForward(side_, pod_, peer->port()); };
    peer->Send(bytes_);
    RETURN_IF_ERROR(Time("forward_out", open, [&](Session& s) {
      RETURN_IF_ERROR(s.client->Receive(s.data, bytes_));
      return peer->Join();
    }));
    peer->Receive(bytes_);
    return Time("forward_in", open, [&](Session& s) {
      RETURN_IF_ERROR(s.client->Send(s.data, bytes_));
      return peer->Join();
    });
  }

  template <typename Open, typename Move>
  absl::Status Time(absl::string_view name, Open open, Move move) {
    absl::Duration before;
    if (container_) {
      ASSIGN_OR_RETURN(before, RuntimeCpu(side_, *container_));
    }
    ASSIGN_OR_RETURN(Session session, open(), name);
    absl::Time start = absl::Now();
    RETURN_IF_ERROR(move(session), name);
    double seconds = absl::ToDoubleSeconds(absl::Now() - start);
    session = Session();
    side_.samples.Add(name, kRateUnit, static_cast<double>(bytes_) / 1e6 / seconds);
    if (container_) {
      ASSIGN_OR_RETURN(absl::Duration after, RuntimeCpu(side_, *container_));
      side_.samples.Add(absl::StrCat(name, "_cpu"), "ms", absl::ToDoubleMilliseconds(after - before));
    }
    return absl::OkStatus();
  }

  Side& side_;
  const RunningPod& pod_;
  uint64_t bytes_;
  std::optional<ProcessTree> container_;
};

}  // namespace

absl::Status RunStreams(Side& side, const RunningPod& pod, uint64_t bytes) {
  return StreamRound(side, pod, bytes).Run();
}

}  // namespace berth::bench
