#include <string>
#include <utility>
#include <vector>

#include "cli/client/client_impl.h"
#include "cli/client/cri_client.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

using Runtime = cri::RuntimeService::Stub;

ContainerState FromWire(cri::ContainerState state) {
  switch (state) {
    case cri::CONTAINER_CREATED:
      return ContainerState::kCreated;
    case cri::CONTAINER_RUNNING:
      return ContainerState::kRunning;
    case cri::CONTAINER_EXITED:
      return ContainerState::kExited;
    default:
      return ContainerState::kUnknown;
  }
}

std::optional<uint64_t> FromWire(bool present, const cri::UInt64Value& value) {
  return present ? std::optional<uint64_t>(value.value()) : std::nullopt;
}

template <typename Request>
void SetStreams(StreamSet streams, Request* request) {
  request->set_stdin(streams.in);
  request->set_stdout(streams.out);
  request->set_stderr(streams.err);
  request->set_tty(streams.tty);
}

}  // namespace

absl::StatusOr<std::vector<PodInfo>> CriClient::ListPods() {
  cri::ListPodSandboxRequest request;
  cri::ListPodSandboxResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::ListPodSandbox, request, &response));
  std::vector<PodInfo> pods;
  for (const auto& item : response.items()) {
    PodInfo pod;
    pod.id = item.id();
    pod.name = item.metadata().name();
    pod.ns = item.metadata().namespace_();
    pod.uid = item.metadata().uid();
    pod.attempt = item.metadata().attempt();
    pod.handler = item.runtime_handler();
    pod.ready = item.state() == cri::SANDBOX_READY;
    pod.created_at = item.created_at();
    pod.labels = ToStringMap(item.labels());
    pod.annotations = ToStringMap(item.annotations());
    pods.push_back(std::move(pod));
  }
  return pods;
}

absl::StatusOr<std::string> CriClient::RunPod(const cri::PodSandboxConfig& config, const std::string& handler) {
  cri::RunPodSandboxRequest request;
  *request.mutable_config() = config;
  request.set_runtime_handler(handler);
  cri::RunPodSandboxResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::RunPodSandbox, request, &response));
  return response.pod_sandbox_id();
}

absl::StatusOr<std::vector<std::string>> CriClient::PodIps(const std::string& id) {
  cri::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(id);
  cri::PodSandboxStatusResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::PodSandboxStatus, request, &response));
  std::vector<std::string> ips;
  const auto& network = response.status().network();
  if (!network.ip().empty()) ips.push_back(network.ip());
  for (const auto& more : network.additional_ips()) ips.push_back(more.ip());
  return ips;
}

absl::Status CriClient::StopPod(const std::string& id) {
  cri::StopPodSandboxRequest request;
  request.set_pod_sandbox_id(id);
  cri::StopPodSandboxResponse response;
  return impl_->Call(*impl_->runtime, &Runtime::StopPodSandbox, request, &response);
}

absl::Status CriClient::RemovePod(const std::string& id) {
  cri::RemovePodSandboxRequest request;
  request.set_pod_sandbox_id(id);
  cri::RemovePodSandboxResponse response;
  return impl_->Call(*impl_->runtime, &Runtime::RemovePodSandbox, request, &response);
}

absl::StatusOr<std::string> CriClient::InspectPod(const std::string& id) {
  cri::PodSandboxStatusRequest request;
  request.set_pod_sandbox_id(id);
  request.set_verbose(true);
  cri::PodSandboxStatusResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::PodSandboxStatus, request, &response));
  return InspectJson(response.status(), response.info());
}

absl::StatusOr<std::vector<ContainerInfo>> CriClient::ListContainers() {
  cri::ListContainersRequest request;
  cri::ListContainersResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::ListContainers, request, &response));
  std::vector<ContainerInfo> containers;
  for (const auto& item : response.containers()) {
    ContainerInfo container;
    container.id = item.id();
    container.pod_id = item.pod_sandbox_id();
    container.name = item.metadata().name();
    container.attempt = item.metadata().attempt();
    const auto& image = item.image();
    container.image = image.user_specified_image().empty() ? image.image() : image.user_specified_image();
    container.image_id = item.image_id();
    container.state = FromWire(item.state());
    container.created_at = item.created_at();
    container.labels = ToStringMap(item.labels());
    container.annotations = ToStringMap(item.annotations());
    containers.push_back(std::move(container));
  }
  return containers;
}

absl::StatusOr<std::string> CriClient::CreateContainer(const std::string& pod_id, const cri::ContainerConfig& config,
                                                       const cri::PodSandboxConfig& pod_config) {
  cri::CreateContainerRequest request;
  request.set_pod_sandbox_id(pod_id);
  *request.mutable_config() = config;
  *request.mutable_sandbox_config() = pod_config;
  cri::CreateContainerResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::CreateContainer, request, &response));
  return response.container_id();
}

absl::Status CriClient::StartContainer(const std::string& id) {
  cri::StartContainerRequest request;
  request.set_container_id(id);
  cri::StartContainerResponse response;
  return impl_->Call(*impl_->runtime, &Runtime::StartContainer, request, &response);
}

absl::Status CriClient::StopContainer(const std::string& id, int64_t grace_seconds) {
  cri::StopContainerRequest request;
  request.set_container_id(id);
  request.set_timeout(grace_seconds);
  cri::StopContainerResponse response;
  return impl_->Call(*impl_->runtime, &Runtime::StopContainer, request, &response, Bound::kAsLongAsItTakes);
}

absl::Status CriClient::RemoveContainer(const std::string& id) {
  cri::RemoveContainerRequest request;
  request.set_container_id(id);
  cri::RemoveContainerResponse response;
  return impl_->Call(*impl_->runtime, &Runtime::RemoveContainer, request, &response);
}

absl::StatusOr<ContainerDetails> CriClient::ContainerStatus(const std::string& id) {
  cri::ContainerStatusRequest request;
  request.set_container_id(id);
  cri::ContainerStatusResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::ContainerStatus, request, &response));
  const auto& status = response.status();
  return ContainerDetails{FromWire(status.state()), status.exit_code(), status.reason(), status.message(),
                          status.log_path()};
}

absl::StatusOr<std::string> CriClient::InspectContainer(const std::string& id) {
  cri::ContainerStatusRequest request;
  request.set_container_id(id);
  request.set_verbose(true);
  cri::ContainerStatusResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::ContainerStatus, request, &response));
  return InspectJson(response.status(), response.info());
}

absl::StatusOr<StreamSet> CriClient::ContainerStreams(const std::string& id) {
  cri::ContainerStatusRequest request;
  request.set_container_id(id);
  request.set_verbose(true);
  cri::ContainerStatusResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::ContainerStatus, request, &response));
  StreamSet streams{.out = true, .err = true};
  // CRI's status does not have it; the verbose information of the common runtimes does.
  auto info = response.info().find("info");
  auto json = ParseJson(info == response.info().end() ? "" : info->second);
  if (!json.ok() || !json->is_object() || !json->contains("config") || !(*json)["config"].is_object()) return streams;
  const Json& config = (*json)["config"];
  streams.in = BoolField(config, "stdin").value_or(false);
  streams.tty = BoolField(config, "tty").value_or(false);
  streams.err = !streams.tty;
  return streams;
}

absl::StatusOr<std::vector<ContainerUsage>> CriClient::ListStats() {
  cri::ListContainerStatsRequest request;
  cri::ListContainerStatsResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::ListContainerStats, request, &response));
  std::vector<ContainerUsage> all;
  for (const auto& stats : response.stats()) {
    ContainerUsage usage;
    usage.id = stats.attributes().id();
    usage.name = stats.attributes().metadata().name();
    usage.labels = ToStringMap(stats.attributes().labels());
    const auto& cpu = stats.cpu();
    usage.cpu_time = cpu.timestamp();
    usage.cpu_nanos = FromWire(cpu.has_usage_core_nano_seconds(), cpu.usage_core_nano_seconds());
    usage.nano_cores = FromWire(cpu.has_usage_nano_cores(), cpu.usage_nano_cores());
    usage.working_set = FromWire(stats.memory().has_working_set_bytes(), stats.memory().working_set_bytes());
    usage.writable_bytes = FromWire(stats.writable_layer().has_used_bytes(), stats.writable_layer().used_bytes());
    all.push_back(std::move(usage));
  }
  return all;
}

absl::StatusOr<ExecResult> CriClient::ExecSync(const std::string& id, const std::vector<std::string>& command,
                                               int64_t timeout_seconds) {
  cri::ExecSyncRequest request;
  request.set_container_id(id);
  for (const std::string& arg : command) request.add_cmd(arg);
  request.set_timeout(timeout_seconds);
  cri::ExecSyncResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::ExecSync, request, &response, Bound::kAsLongAsItTakes));
  return ExecResult{std::move(*response.mutable_stdout()), std::move(*response.mutable_stderr()), response.exit_code()};
}

absl::StatusOr<std::string> CriClient::ExecUrl(const std::string& id, const std::vector<std::string>& command,
                                               StreamSet streams) {
  cri::ExecRequest request;
  request.set_container_id(id);
  for (const std::string& arg : command) request.add_cmd(arg);
  SetStreams(streams, &request);
  cri::ExecResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::Exec, request, &response));
  return response.url();
}

absl::StatusOr<std::string> CriClient::AttachUrl(const std::string& id, StreamSet streams) {
  cri::AttachRequest request;
  request.set_container_id(id);
  SetStreams(streams, &request);
  cri::AttachResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::Attach, request, &response));
  return response.url();
}

absl::StatusOr<std::string> CriClient::PortForwardUrl(const std::string& pod_id, const std::vector<uint16_t>& ports) {
  cri::PortForwardRequest request;
  request.set_pod_sandbox_id(pod_id);
  for (uint16_t port : ports) request.add_port(port);
  cri::PortForwardResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &Runtime::PortForward, request, &response));
  return response.url();
}

}  // namespace berth::cli
