#include "cri/service/calls.h"

namespace berth::service {

absl::Status Calls::Exec(const pod::CallContext&, const v1::ExecRequest& request, v1::ExecResponse& out) {
  std::vector<std::string> argv(request.cmd().begin(), request.cmd().end());
  ASSIGN_OR_RETURN(streaming::ExecRequest exec,
                   engine_.PrepareExec({request.container_id(), std::move(argv), request.tty(), request.stdin(),
                                        request.stdout(), request.stderr()}));
  ASSIGN_OR_RETURN(*out.mutable_url(), streaming_.Url(std::move(exec)));
  return absl::OkStatus();
}

absl::Status Calls::Attach(const pod::CallContext&, const v1::AttachRequest& request, v1::AttachResponse& out) {
  ASSIGN_OR_RETURN(streaming::AttachRequest attach,
                   engine_.PrepareAttach(
                       {request.container_id(), request.tty(), request.stdin(), request.stdout(), request.stderr()}));
  ASSIGN_OR_RETURN(*out.mutable_url(), streaming_.Url(std::move(attach)));
  return absl::OkStatus();
}

absl::Status Calls::PortForward(const pod::CallContext&, const v1::PortForwardRequest& request,
                                v1::PortForwardResponse& out) {
  ASSIGN_OR_RETURN(
      streaming::PortForwardRequest forward,
      engine_.PreparePortForward(request.pod_sandbox_id(), {request.port().begin(), request.port().end()}));
  ASSIGN_OR_RETURN(*out.mutable_url(), streaming_.Url(std::move(forward)));
  return absl::OkStatus();
}

}  // namespace berth::service
