#include <algorithm>

#include "absl/strings/match.h"
#include "cri/service/calls.h"
#include "cri/service/convert.h"
#include "runtime/base/json.h"

namespace berth::service {
namespace {

Json ResourcesInfo(const state::v1::Resources& r) {
  return {{"cpuPeriod", r.cpu_period()},
          {"cpuQuota", r.cpu_quota()},
          {"cpuShares", r.cpu_shares()},
          {"memoryLimitInBytes", r.memory_limit()}};
}

}  // namespace

absl::Status Calls::RunPodSandbox(const pod::CallContext& call, const v1::RunPodSandboxRequest& request,
                                  v1::RunPodSandboxResponse& out) {
  if (!request.has_config()) return absl::InvalidArgumentError("config: is missing");
  ASSIGN_OR_RETURN(state::v1::PodSpec spec, ToPodSpec(request.config(), request.runtime_handler()));
  ASSIGN_OR_RETURN(PodId id, engine_.RunPod(std::move(spec), call));
  out.set_pod_sandbox_id(id.str());
  return absl::OkStatus();
}

absl::Status Calls::StopPodSandbox(const pod::CallContext&, const v1::StopPodSandboxRequest& request,
                                   v1::StopPodSandboxResponse&) {
  return engine_.StopPod(request.pod_sandbox_id());
}

absl::Status Calls::RemovePodSandbox(const pod::CallContext&, const v1::RemovePodSandboxRequest& request,
                                     v1::RemovePodSandboxResponse&) {
  return engine_.RemovePod(request.pod_sandbox_id());
}

absl::Status Calls::PodSandboxStatus(const pod::CallContext&, const v1::PodSandboxStatusRequest& request,
                                     v1::PodSandboxStatusResponse& out) {
  ASSIGN_OR_RETURN(PodId id, engine_.registry().ResolvePod(request.pod_sandbox_id()));
  ASSIGN_OR_RETURN(state::v1::Pod pod, engine_.registry().Pod(id));
  *out.mutable_status() = ToPodSandboxStatus(pod);
  for (const auto& c : engine_.registry().ContainersOf(id)) *out.add_containers_statuses() = ToContainerStatus(c);
  out.set_timestamp(absl::GetCurrentTimeNanos());
  if (request.verbose()) {
    auto shim = engine_.registry().Shim(id);
    Json info = {{"pid", shim.ok() ? (*shim)->pid() : 0},
                 {"cgroupPath", pod.cgroup_path()},
                 {"netnsPath", pod.netns_path()},
                 {"logDirectory", pod.spec().log_directory()}};
    if (pod.spec().has_overhead()) info["overhead"] = ResourcesInfo(pod.spec().overhead());
    if (pod.spec().has_resources()) info["resources"] = ResourcesInfo(pod.spec().resources());
    (*out.mutable_info())["info"] = DumpJson(info);
  }
  return absl::OkStatus();
}

absl::Status Calls::UpdatePodSandboxResources(const pod::CallContext&,
                                              const v1::UpdatePodSandboxResourcesRequest& request,
                                              v1::UpdatePodSandboxResourcesResponse&) {
  const state::v1::Resources overhead = ToResources(request.overhead()), resources = ToResources(request.resources());
  return engine_.UpdatePodResources(request.pod_sandbox_id(), request.has_overhead() ? &overhead : nullptr,
                                    request.has_resources() ? &resources : nullptr);
}

absl::Status Calls::ListPodSandbox(const pod::CallContext&, const v1::ListPodSandboxRequest& request,
                                   v1::ListPodSandboxResponse& out) {
  const v1::PodSandboxFilter& filter = request.filter();
  std::vector<state::v1::Pod> pods = engine_.registry().Pods();
  std::sort(pods.begin(), pods.end(), [](const auto& a, const auto& b) { return a.created_at() > b.created_at(); });
  for (const state::v1::Pod& pod : pods) {
    if (!absl::StartsWith(pod.id(), filter.id())) continue;
    if (filter.has_state() && static_cast<int>(filter.state().state()) != static_cast<int>(pod.state())) continue;
    if (!MatchesLabels(pod.spec().labels(), filter.label_selector())) continue;
    *out.add_items() = ToPodSandbox(pod);
  }
  return absl::OkStatus();
}

}  // namespace berth::service
