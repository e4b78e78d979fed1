#include "cli/client/cri_client.h"

#include <google/protobuf/util/json_util.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "cli/client/client_impl.h"
#include "runtime/base/json.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli {
namespace {

constexpr int kMaxMessage = 16 << 20;
constexpr absl::Duration kDefaultTimeout = absl::Minutes(2);

// gRPC tries for a while and then says "failed to connect to all addresses"; one connect(2) knows
// the cause at once.
absl::Status Probe(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path is too long: ", path));
  }
  memcpy(address.sun_path, path.data(), path.size());
  sys::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoError(errno, "socket");
  int rc;
  do {
    rc = connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  } while (rc != 0 && errno == EINTR);
  return rc == 0 ? absl::OkStatus() : CannotReach(path, errno);
}

}  // namespace

absl::string_view StateName(ContainerState state) {
  switch (state) {
    case ContainerState::kCreated:
      return "Created";
    case ContainerState::kRunning:
      return "Running";
    case ContainerState::kExited:
      return "Exited";
    case ContainerState::kUnknown:
      break;
  }
  return "Unknown";
}

CriClient::Impl::Context::Context(Impl* impl, Bound bound) : impl_(impl) {
  if (impl->timeout) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + *impl->timeout));
  } else if (bound == Bound::kDefault) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kDefaultTimeout));
  }
  absl::MutexLock lock(&impl_->mu);
  impl_->calls.insert(&context_);
  if (impl_->interrupted) context_.TryCancel();
}

CriClient::Impl::Context::~Context() {
  absl::MutexLock lock(&impl_->mu);
  impl_->calls.erase(&context_);
}

absl::Status CriClient::Impl::ToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) {
    // Said by gRPC when the peer goes away, not by the daemon: its own UNAVAILABLE has other words.
    if (absl::StartsWith(status.error_message(), "failed to connect")) return CannotReach(socket_path, ECONNREFUSED);
    if (status.error_message() == "Socket closed") {
      return absl::UnavailableError(
          absl::StrCat("berthd at ", socket_path, " closed the connection before it answered"));
    }
  }
  if (status.error_code() == grpc::StatusCode::CANCELLED) {
    absl::MutexLock lock(&mu);
    if (interrupted) return absl::CancelledError("interrupted");
  }
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && status.error_message() == "Deadline Exceeded") {
    return absl::DeadlineExceededError("timed out: no answer in time (--timeout sets how long to wait)");
  }
  return RpcError(status.error_code(), status.error_message());
}

CriClient::CriClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
CriClient::~CriClient() = default;

absl::StatusOr<std::unique_ptr<CriClient>> CriClient::Connect(const std::string& socket_path,
                                                              std::optional<absl::Duration> timeout) {
  RETURN_IF_ERROR(Probe(socket_path));
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(kMaxMessage);
  args.SetMaxSendMessageSize(kMaxMessage);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto channel = grpc::CreateCustomChannel("unix:" + socket_path, grpc::InsecureChannelCredentials(), args);
  auto impl = std::make_unique<Impl>();
  impl->socket_path = socket_path;
  impl->timeout = timeout;
  impl->runtime = cri::RuntimeService::NewStub(channel);
  impl->images = cri::ImageService::NewStub(channel);
  impl->admin = berth::v1::Admin::NewStub(channel);
  return std::unique_ptr<CriClient>(new CriClient(std::move(impl)));
}

void CriClient::Interrupt() {
  absl::MutexLock lock(&impl_->mu);
  impl_->interrupted = true;
  for (grpc::ClientContext* context : impl_->calls) context->TryCancel();
}

void CriClient::Resume() {
  absl::MutexLock lock(&impl_->mu);
  impl_->interrupted = false;
}

std::string InspectJson(const google::protobuf::Message& status,
                        const google::protobuf::Map<std::string, std::string>& info) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  std::string text;
  nlohmann::ordered_json document;
  if (google::protobuf::util::MessageToJsonString(status, &text, options).ok()) {
    document["status"] = nlohmann::ordered_json::parse(text, nullptr, false);
  }
  document["info"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : std::map<std::string, std::string>(info.begin(), info.end())) {
    auto nested = nlohmann::ordered_json::parse(value, nullptr, false);
    document["info"][key] = nested.is_discarded() ? nlohmann::ordered_json(value) : nested;
  }
  return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::StatusOr<VersionInfo> CriClient::Version() {
  cri::VersionRequest request;
  cri::VersionResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &cri::RuntimeService::Stub::Version, request, &response));
  return VersionInfo{response.runtime_name(), response.runtime_version(), response.runtime_api_version()};
}

absl::StatusOr<DaemonInfo> CriClient::Info() {
  DaemonInfo info;
  cri::StatusResponse status;
  RETURN_IF_ERROR(impl_->Call(*impl_->runtime, &cri::RuntimeService::Stub::Status, cri::StatusRequest(), &status));
  for (const auto& c : status.status().conditions()) {
    info.conditions.push_back({c.type(), c.status(), c.reason(), c.message()});
  }
  for (const auto& handler : status.runtime_handlers()) {
    if (!handler.name().empty()) info.handlers.push_back(handler.name());
  }
  cri::RuntimeConfigResponse config;
  absl::Status got =
      impl_->Call(*impl_->runtime, &cri::RuntimeService::Stub::RuntimeConfig, cri::RuntimeConfigRequest(), &config);
  if (got.ok()) {
    info.cgroup_driver = config.linux().cgroup_driver() == cri::CgroupDriver::CGROUPFS ? "cgroupfs" : "systemd";
  } else if (!absl::IsUnimplemented(got)) {
    return got;
  }
  berth::v1::InfoResponse admin;
  got = impl_->Call(*impl_->admin, &berth::v1::Admin::Stub::Info, berth::v1::InfoRequest(), &admin);
  if (absl::IsUnimplemented(got)) return info;
  RETURN_IF_ERROR(got);
  info.commit = admin.commit();
  info.state_dir = admin.state_dir();
  info.root_dir = admin.root_dir();
  info.kernel = admin.kernel();
  switch (admin.network_mode()) {
    case berth::v1::NETWORK_MODE_CNI:
      info.network_mode = "cni";
      break;
    case berth::v1::NETWORK_MODE_BUILTIN:
      info.network_mode = "embedded";
      break;
    case berth::v1::NETWORK_MODE_NONE:
      info.network_mode = "none";
      break;
    default:
      break;
  }
  switch (admin.cgroup_version()) {
    case berth::v1::CGROUP_VERSION_V1:
      info.cgroup_version = "v1";
      break;
    case berth::v1::CGROUP_VERSION_V2:
      info.cgroup_version = "v2";
      break;
    default:
      break;
  }
  return info;
}

}  // namespace berth::cli
