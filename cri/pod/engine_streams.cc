// What the streaming server asks of the engine: execs and attached containers with their streams, sockets in pods; and
// the checks before a client gets a URL for one.
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "cri/network/netns.h"
#include "cri/pod/engine.h"

namespace berth::pod {
namespace {

using state::v1::Container;
using state::v1::Pod;

// The rules that CRI gives for both.
template <typename Request>
absl::Status CheckStreams(const Request& request) {
  if (!request.in && !request.out && !request.err) {
    return absl::InvalidArgumentError("stdin, stdout, stderr: at least one is needed");
  }
  if (request.tty && request.err) {
    return absl::InvalidArgumentError("stderr: is not there with tty, whose output is all stdout");
  }
  return absl::OkStatus();
}

absl::Status CheckReady(const Pod& pod) {
  if (pod.state() == Pod::READY) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("pod sandbox '", pod.id(), "' is not ready"));
}

}  // namespace

absl::StatusOr<streaming::ExecRequest> Engine::PrepareExec(streaming::ExecRequest request) const {
  if (request.argv.empty() || request.argv[0].empty()) return absl::InvalidArgumentError("cmd: is empty");
  RETURN_IF_ERROR(CheckStreams(request));
  ASSIGN_OR_RETURN(Container container, RunningContainer(request.container_id));
  request.container_id = container.id();
  return request;
}

absl::StatusOr<streaming::AttachRequest> Engine::PrepareAttach(streaming::AttachRequest request) const {
  RETURN_IF_ERROR(CheckStreams(request));
  ASSIGN_OR_RETURN(Container container, RunningContainer(request.container_id));
  if (request.tty != container.spec().tty()) {
    return absl::InvalidArgumentError(absl::StrCat("tty: container '", container.id(), "' has ",
                                                   container.spec().tty() ? "a terminal" : "no terminal"));
  }
  request.container_id = container.id();
  return request;
}

absl::StatusOr<streaming::PortForwardRequest> Engine::PreparePortForward(absl::string_view pod_id,
                                                                         const std::vector<int>& ports) const {
  streaming::PortForwardRequest request;
  for (int port : ports) {
    if (port < 1 || port > 65535) return absl::InvalidArgumentError(absl::StrCat("port: ", port, " is not 1 to 65535"));
    request.ports.push_back(static_cast<uint16_t>(port));
  }
  ASSIGN_OR_RETURN(PodId id, registry_.ResolvePod(pod_id));
  ASSIGN_OR_RETURN(Pod pod, registry_.Pod(id));
  RETURN_IF_ERROR(CheckReady(pod));
  request.pod_id = id.str();
  return request;
}

absl::StatusOr<std::unique_ptr<streaming::Command>> Engine::Exec(const streaming::ExecRequest& request, Done done) {
  ASSIGN_OR_RETURN(ExecLaunch launch, PlanExec(request.container_id, request.argv, request.tty));
  return StartExec(std::move(launch), request, background_, std::move(done));
}

absl::StatusOr<std::unique_ptr<streaming::Command>> Engine::Attach(const streaming::AttachRequest& request, Done done) {
  ASSIGN_OR_RETURN(Container container, RunningContainer(request.container_id));
  ASSIGN_OR_RETURN(auto shim, registry_.Shim(PodId(container.pod_id())));
  return AttachTo(std::move(shim), request, background_, std::move(done));
}

absl::StatusOr<sys::UniqueFd> Engine::OpenSocket(const std::string& pod_id, int family) {
  ASSIGN_OR_RETURN(Pod pod, registry_.Pod(PodId(pod_id)));
  RETURN_IF_ERROR(CheckReady(pod));
  ASSIGN_OR_RETURN(auto shim, registry_.Shim(PodId(pod_id)));
  ASSIGN_OR_RETURN(sys::UniqueFd netns, shim->OpenNetns());
  sys::UniqueFd opened;
  absl::Status status = network::RunInNetns(netns.get(), [&]() -> absl::Status {
    opened.Reset(socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
    return opened ? absl::OkStatus() : ErrnoError(errno, "socket");
  });
  if (ErrnoOf(status) == EAFNOSUPPORT) {
    absl::Status unavailable = absl::UnavailableError(status.message());
    status.ForEachPayload([&](absl::string_view type, const absl::Cord& p) { unavailable.SetPayload(type, p); });
    return unavailable;
  }
  RETURN_IF_ERROR(status, "in the network namespace of the pod");
  return opened;
}

}  // namespace berth::pod
