#include "tests/bench/cri_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "absl/time/clock.h"
#include "runtime/base/json.h"

namespace berth::bench {
namespace {

constexpr absl::Duration kDeadline = absl::Minutes(2);
constexpr absl::Duration kPullDeadline = absl::Minutes(10);
constexpr absl::Duration kExecDeadline = absl::Minutes(10);  // a hundred at the same time take some runtimes long
constexpr int kMaxMessage = 16 << 20;                        // as the kubelet has it

// One unary call, with absl's status, whose codes are gRPC's number by number.
template <typename Stub, typename Request, typename Response>
absl::Status Call(Stub& stub, const char* name,
                  grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), const Request& request,
                  Response& response, absl::Duration deadline = kDeadline) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  grpc::Status s = (stub.*method)(&context, request, &response);
  if (s.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(s.error_code()), absl::StrCat(name, ": ", s.error_message()));
}

}  // namespace

CriClient::CriClient(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessage);
  arguments.SetMaxSendMessageSize(kMaxMessage);
  // While a daemon starts, asking again soon costs nothing.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // and no connection is another client's
  auto channel = grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments);
  runtime_ = v1::RuntimeService::NewStub(channel);
  image_ = v1::ImageService::NewStub(channel);
}

absl::StatusOr<std::unique_ptr<CriClient>> CriClient::Connect(const std::string& endpoint, absl::Duration patience,
                                                              absl::Duration pause) {
  absl::Time end = absl::Now() + patience;
  for (;;) {
    // A channel that could not connect waits before it tries again, whoever asks.
    std::unique_ptr<CriClient> client(new CriClient(endpoint));
    v1::VersionResponse version;
    // containerd's first answers, while its plugins load, are Unimplemented and Unavailable.
    absl::Status s = Call(*client->runtime_, "Version", &v1::RuntimeService::Stub::Version, v1::VersionRequest(),
                          version, absl::Seconds(5));
    if (s.ok()) {
      client->server_ = absl::StrCat(version.runtime_name(), " ", version.runtime_version());
      return client;
    }
    if (absl::Now() >= end) return Annotate(s, absl::StrCat("'", endpoint, "'"));
    absl::SleepFor(pause);
  }
}

absl::Status CriClient::EnsureImage(const std::string& image) {
  v1::ImageStatusRequest ask;
  ask.mutable_image()->set_image(image);
  v1::ImageStatusResponse known;
  RETURN_IF_ERROR(Call(*image_, "ImageStatus", &v1::ImageService::Stub::ImageStatus, ask, known));
  return known.has_image() ? absl::OkStatus() : PullImage(image);
}

absl::Status CriClient::PullImage(const std::string& image) {
  v1::PullImageRequest request;
  request.mutable_image()->set_image(image);
  v1::PullImageResponse response;
  return Call(*image_, "PullImage", &v1::ImageService::Stub::PullImage, request, response, kPullDeadline);
}

absl::Status CriClient::RemoveImage(const std::string& image) {
  v1::RemoveImageRequest request;
  request.mutable_image()->set_image(image);
  v1::RemoveImageResponse response;
  return Call(*image_, "RemoveImage", &v1::ImageService::Stub::RemoveImage, request, response);
}

absl::StatusOr<std::string> CriClient::RunPodSandbox(const v1::PodSandboxConfig& config) {
  v1::RunPodSandboxRequest request;
  *request.mutable_config() = config;
  v1::RunPodSandboxResponse response;
  RETURN_IF_ERROR(Call(*runtime_, "RunPodSandbox", &v1::RuntimeService::Stub::RunPodSandbox, request, response));
  return response.pod_sandbox_id();
}

absl::StatusOr<std::string> CriClient::CreateContainer(const std::string& pod, const v1::ContainerConfig& config,
                                                       const v1::PodSandboxConfig& pod_config) {
  v1::CreateContainerRequest request;
  request.set_pod_sandbox_id(pod);
  *request.mutable_config() = config;
  *request.mutable_sandbox_config() = pod_config;
  v1::CreateContainerResponse response;
  RETURN_IF_ERROR(Call(*runtime_, "CreateContainer", &v1::RuntimeService::Stub::CreateContainer, request, response));
  return response.container_id();
}

absl::Status CriClient::StartContainer(const std::string& container) {
  v1::StartContainerRequest request;
  request.set_container_id(container);
  v1::StartContainerResponse response;
  return Call(*runtime_, "StartContainer", &v1::RuntimeService::Stub::StartContainer, request, response);
}

absl::StatusOr<std::map<std::string, absl::Duration>> CriClient::StartSteps(const std::string& container) {
  v1::ContainerStatusRequest request;
  v1::ContainerStatusResponse response;
  request.set_container_id(container);
  request.set_verbose(true);
  RETURN_IF_ERROR(Call(*runtime_, "ContainerStatus", &v1::RuntimeService::Stub::ContainerStatus, request, response));
  std::map<std::string, absl::Duration> steps;
  ASSIGN_OR_RETURN(const Json info, ParseJson(response.info().at("info")), "verbose status");
  for (const Json& step : info.value("startSteps", Json::array())) {
    steps[step.value("name", "")] += absl::Nanoseconds(step.value("nanoseconds", int64_t{0}));
  }
  return steps;
}

absl::Status CriClient::ExecSync(const std::string& container, const std::vector<std::string>& command) {
  v1::ExecSyncRequest request;
  request.set_container_id(container);
  request.mutable_cmd()->Add(command.begin(), command.end());
  v1::ExecSyncResponse response;
  RETURN_IF_ERROR(Call(*runtime_, "ExecSync", &v1::RuntimeService::Stub::ExecSync, request, response, kExecDeadline));
  if (response.exit_code() == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("ExecSync: '", command.front(), "' ended with ", response.exit_code(), ": ",
                                          response.stderr().substr(0, 200)));
}

absl::StatusOr<std::string> CriClient::Exec(const std::string& container, const std::vector<std::string>& command,
                                            bool in) {
  v1::ExecRequest request;
  request.set_container_id(container);
  request.mutable_cmd()->Add(command.begin(), command.end());
  request.set_stdin(in);
  request.set_stdout(true);
  v1::ExecResponse response;
  RETURN_IF_ERROR(Call(*runtime_, "Exec", &v1::RuntimeService::Stub::Exec, request, response));
  return response.url();
}

absl::StatusOr<std::string> CriClient::PortForward(const std::string& pod, uint16_t port) {
  v1::PortForwardRequest request;
  request.set_pod_sandbox_id(pod);
  request.add_port(port);
  v1::PortForwardResponse response;
  RETURN_IF_ERROR(Call(*runtime_, "PortForward", &v1::RuntimeService::Stub::PortForward, request, response));
  return response.url();
}

absl::Status CriClient::StopContainer(const std::string& container, absl::Duration grace) {
  v1::StopContainerRequest request;
  request.set_container_id(container);
  request.set_timeout(absl::ToInt64Seconds(grace));
  v1::StopContainerResponse response;
  return Call(*runtime_, "StopContainer", &v1::RuntimeService::Stub::StopContainer, request, response);
}

absl::Status CriClient::RemoveContainer(const std::string& container) {
  v1::RemoveContainerRequest request;
  request.set_container_id(container);
  v1::RemoveContainerResponse response;
  return Call(*runtime_, "RemoveContainer", &v1::RuntimeService::Stub::RemoveContainer, request, response);
}

absl::Status CriClient::StopPodSandbox(const std::string& pod) {
  v1::StopPodSandboxRequest request;
  request.set_pod_sandbox_id(pod);
  v1::StopPodSandboxResponse response;
  return Call(*runtime_, "StopPodSandbox", &v1::RuntimeService::Stub::StopPodSandbox, request, response);
}

absl::Status CriClient::RemovePodSandbox(const std::string& pod) {
  v1::RemovePodSandboxRequest request;
  request.set_pod_sandbox_id(pod);
  v1::RemovePodSandboxResponse response;
  return Call(*runtime_, "RemovePodSandbox", &v1::RuntimeService::Stub::RemovePodSandbox, request, response);
}

absl::StatusOr<std::vector<std::string>> CriClient::Pods(const std::string& label, const std::string& value) {
  v1::ListPodSandboxRequest request;
  (*request.mutable_filter()->mutable_label_selector())[label] = value;
  v1::ListPodSandboxResponse response;
  RETURN_IF_ERROR(Call(*runtime_, "ListPodSandbox", &v1::RuntimeService::Stub::ListPodSandbox, request, response));
  std::vector<std::string> ids;
  for (const v1::PodSandbox& pod : response.items()) ids.push_back(pod.id());
  return ids;
}

absl::StatusOr<CriClient::Numbers> CriClient::Running(const std::string& label, const std::string& value) {
  v1::ListPodSandboxRequest ask_pods;
  (*ask_pods.mutable_filter()->mutable_label_selector())[label] = value;
  ask_pods.mutable_filter()->mutable_state()->set_state(v1::SANDBOX_READY);
  v1::ListPodSandboxResponse pods;
  RETURN_IF_ERROR(Call(*runtime_, "ListPodSandbox", &v1::RuntimeService::Stub::ListPodSandbox, ask_pods, pods));
  v1::ListContainersRequest ask_containers;
  (*ask_containers.mutable_filter()->mutable_label_selector())[label] = value;
  ask_containers.mutable_filter()->mutable_state()->set_state(v1::CONTAINER_RUNNING);
  v1::ListContainersResponse containers;
  RETURN_IF_ERROR(
      Call(*runtime_, "ListContainers", &v1::RuntimeService::Stub::ListContainers, ask_containers, containers));
  return Numbers{pods.items_size(), containers.containers_size()};
}

}  // namespace berth::bench
