#include <algorithm>

#include "absl/strings/match.h"
#include "cri/service/calls.h"
#include "cri/service/convert.h"
#include "runtime/base/json.h"

namespace berth::service {
namespace {

// A container's life for whoever looks into it: what each step of its start took.
std::string VerboseInfo(const state::v1::Container& c) {
  Json steps = Json::array();
  for (const auto& s : c.steps()) steps.push_back({{"name", s.name()}, {"nanoseconds", s.nanoseconds()}});
  // Under the names that containerd has for it: what a client has to know to attach.
  Json config = {{"stdin", c.spec().stdin()}, {"stdin_once", c.spec().stdin_once()}, {"tty", c.spec().tty()}};
  return DumpJson({{"pid", c.pid()},
                   {"sandboxID", c.pod_id()},
                   {"cgroupPath", c.cgroup_path()},
                   {"config", config},
                   {"startSteps", steps}});
}

}  // namespace

absl::Status Calls::CreateContainer(const pod::CallContext& call, const v1::CreateContainerRequest& request,
                                    v1::CreateContainerResponse& out) {
  if (!request.has_config()) return absl::InvalidArgumentError("config: is missing");
  ASSIGN_OR_RETURN(state::v1::ContainerSpec spec, ToContainerSpec(request.config()));
  ASSIGN_OR_RETURN(ContainerId id, engine_.CreateContainer(request.pod_sandbox_id(), std::move(spec), call));
  out.set_container_id(id.str());
  return absl::OkStatus();
}

absl::Status Calls::StartContainer(const pod::CallContext&, const v1::StartContainerRequest& request,
                                   v1::StartContainerResponse&) {
  return engine_.StartContainer(request.container_id());
}

absl::Status Calls::StopContainer(const pod::CallContext&, const v1::StopContainerRequest& request,
                                  v1::StopContainerResponse&) {
  if (request.timeout() < 0) return absl::InvalidArgumentError("timeout: is negative");
  return engine_.StopContainer(request.container_id(), absl::Seconds(request.timeout()));
}

absl::Status Calls::RemoveContainer(const pod::CallContext&, const v1::RemoveContainerRequest& request,
                                    v1::RemoveContainerResponse&) {
  return engine_.RemoveContainer(request.container_id());
}

absl::Status Calls::ListContainers(const pod::CallContext&, const v1::ListContainersRequest& request,
                                   v1::ListContainersResponse& out) {
  const v1::ContainerFilter& filter = request.filter();
  std::vector<state::v1::Container> containers = engine_.registry().Containers();
  std::sort(containers.begin(), containers.end(),
            [](const auto& a, const auto& b) { return a.created_at() > b.created_at(); });
  for (const state::v1::Container& c : containers) {
    if (!absl::StartsWith(c.id(), filter.id()) || !absl::StartsWith(c.pod_id(), filter.pod_sandbox_id())) continue;
    if (filter.has_state() && static_cast<int>(filter.state().state()) != static_cast<int>(c.state())) continue;
    if (!MatchesLabels(c.spec().labels(), filter.label_selector())) continue;
    *out.add_containers() = ToContainer(c);
  }
  return absl::OkStatus();
}

absl::Status Calls::ContainerStatus(const pod::CallContext&, const v1::ContainerStatusRequest& request,
                                    v1::ContainerStatusResponse& out) {
  ASSIGN_OR_RETURN(ContainerId id, engine_.registry().ResolveContainer(request.container_id()));
  ASSIGN_OR_RETURN(state::v1::Container container, engine_.registry().Container(id));
  *out.mutable_status() = ToContainerStatus(container);
  if (request.verbose()) (*out.mutable_info())["info"] = VerboseInfo(container);
  return absl::OkStatus();
}

absl::Status Calls::UpdateContainerResources(const pod::CallContext&,
                                             const v1::UpdateContainerResourcesRequest& request,
                                             v1::UpdateContainerResourcesResponse&) {
  if (!request.has_linux()) return absl::OkStatus();
  return engine_.UpdateResources(request.container_id(), ToResources(request.linux()));
}

absl::Status Calls::ReopenContainerLog(const pod::CallContext&, const v1::ReopenContainerLogRequest& request,
                                       v1::ReopenContainerLogResponse&) {
  return engine_.ReopenLog(request.container_id());
}

absl::Status Calls::ExecSync(const pod::CallContext& call, const v1::ExecSyncRequest& request,
                             v1::ExecSyncResponse& out) {
  if (request.timeout() < 0) return absl::InvalidArgumentError("timeout: is negative");
  std::vector<std::string> argv(request.cmd().begin(), request.cmd().end());
  ASSIGN_OR_RETURN(pod::ExecResult result,
                   engine_.ExecSync(request.container_id(), argv, absl::Seconds(request.timeout()), call));
  out.set_stdout(std::move(result.stdout_data));
  out.set_stderr(std::move(result.stderr_data));
  out.set_exit_code(result.exit_code);
  return absl::OkStatus();
}

absl::Status Calls::ContainerStats(const pod::CallContext&, const v1::ContainerStatsRequest& request,
                                   v1::ContainerStatsResponse& out) {
  ASSIGN_OR_RETURN(ContainerId id, engine_.registry().ResolveContainer(request.container_id()));
  ASSIGN_OR_RETURN(state::v1::Container container, engine_.registry().Container(id));
  ASSIGN_OR_RETURN(pod::ContainerUsage usage, engine_.Usage(container));
  *out.mutable_stats() = ToContainerStats(usage, absl::Now());
  return absl::OkStatus();
}

absl::Status Calls::ListContainerStats(const pod::CallContext&, const v1::ListContainerStatsRequest& request,
                                       v1::ListContainerStatsResponse& out) {
  const v1::ContainerStatsFilter& filter = request.filter();
  for (const state::v1::Container& c : engine_.registry().Containers()) {
    if (c.state() != state::v1::Container::RUNNING) continue;
    if (!absl::StartsWith(c.id(), filter.id()) || !absl::StartsWith(c.pod_id(), filter.pod_sandbox_id())) continue;
    if (!MatchesLabels(c.spec().labels(), filter.label_selector())) continue;
    // One that ends while it is looked at is left out, as one that ended a moment before.
    if (auto usage = engine_.Usage(c); usage.ok()) *out.add_stats() = ToContainerStats(*usage, absl::Now());
  }
  return absl::OkStatus();
}

}  // namespace berth::service
