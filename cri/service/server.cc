#include "cri/service/server.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include "cri/service/admin_service.h"
#include "cri/service/reactors.h"
#include "cri/v1/api.grpc.pb.h"
#include "runtime/sys/stream_listener.h"

namespace berth::service {
namespace {

using grpc::CallbackServerContext;

// The largest message either way, as both peers and the kubelet have it.
constexpr int kMaxMessage = 16 << 20;

grpc::Status NotYet(const char* name) {
  return grpc::Status(grpc::StatusCode::UNIMPLEMENTED,
                      absl::StrCat(name, " is not implemented by this version of berth"));
}

template <typename Response>
class Unimplemented : public grpc::ServerWriteReactor<Response> {
 public:
  explicit Unimplemented(const char* name) { this->Finish(NotYet(name)); }
  void OnDone() override { delete this; }
};

// One line for each call: which pool it runs on and which function it is.
#define BERTH_UNARY(pool, Name)                                                                    \
  grpc::ServerUnaryReactor* Name(CallbackServerContext* context, const v1::Name##Request* request, \
                                 v1::Name##Response* response) override {                          \
    return Unary(context, pool, #Name, [this, request, response](const pod::CallContext& call) {   \
      return calls_.Name(call, *request, *response);                                               \
    });                                                                                            \
  }
#define BERTH_NOT_YET(Name)                                                                                     \
  grpc::ServerUnaryReactor* Name(CallbackServerContext* context, const v1::Name##Request*, v1::Name##Response*) \
      override {                                                                                                \
    auto* reactor = context->DefaultReactor();                                                                  \
    reactor->Finish(NotYet(#Name));                                                                             \
    return reactor;                                                                                             \
  }
#define BERTH_STREAM_NOT_YET(Name, Request, Response)                                                 \
  grpc::ServerWriteReactor<v1::Response>* Name(CallbackServerContext*, const v1::Request*) override { \
    return new Unimplemented<v1::Response>(#Name);                                                    \
  }

class RuntimeService final : public v1::RuntimeService::CallbackService {
 public:
  RuntimeService(Calls& calls, pod::WorkerPool& quick, pod::WorkerPool& slow, pod::WorkerPool& ends)
      : calls_(calls), quick_(quick), slow_(slow), ends_(ends) {}

  BERTH_UNARY(quick_, Version)
  BERTH_UNARY(quick_, Status)
  BERTH_UNARY(quick_, RuntimeConfig)
  BERTH_UNARY(quick_, UpdateRuntimeConfig)
  BERTH_UNARY(quick_, PodSandboxStatus)
  BERTH_UNARY(quick_, ListPodSandbox)
  BERTH_UNARY(quick_, ListContainers)
  BERTH_UNARY(quick_, ContainerStatus)
  BERTH_UNARY(slow_, RunPodSandbox)
  BERTH_UNARY(ends_, StopPodSandbox)
  BERTH_UNARY(ends_, RemovePodSandbox)
  BERTH_UNARY(slow_, CreateContainer)
  BERTH_UNARY(slow_, StartContainer)
  BERTH_UNARY(ends_, StopContainer)
  BERTH_UNARY(ends_, RemoveContainer)
  BERTH_UNARY(slow_, UpdateContainerResources)
  BERTH_UNARY(slow_, UpdatePodSandboxResources)
  BERTH_UNARY(slow_, ReopenContainerLog)
  BERTH_UNARY(slow_, ExecSync)
  BERTH_UNARY(quick_, Exec)
  BERTH_UNARY(quick_, Attach)
  BERTH_UNARY(quick_, PortForward)
  BERTH_UNARY(slow_, ContainerStats)
  BERTH_UNARY(slow_, ListContainerStats)

  BERTH_NOT_YET(PodSandboxStats)
  BERTH_NOT_YET(ListPodSandboxStats)
  BERTH_NOT_YET(CheckpointContainer)
  BERTH_NOT_YET(CheckpointPod)
  BERTH_NOT_YET(RestorePod)
  BERTH_NOT_YET(ListMetricDescriptors)
  BERTH_NOT_YET(ListPodSandboxMetrics)
  BERTH_STREAM_NOT_YET(GetContainerEvents, GetEventsRequest, ContainerEventResponse)
  BERTH_STREAM_NOT_YET(StreamPodSandboxes, StreamPodSandboxesRequest, StreamPodSandboxesResponse)
  BERTH_STREAM_NOT_YET(StreamContainers, StreamContainersRequest, StreamContainersResponse)
  BERTH_STREAM_NOT_YET(StreamContainerStats, StreamContainerStatsRequest, StreamContainerStatsResponse)
  BERTH_STREAM_NOT_YET(StreamPodSandboxStats, StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse)
  BERTH_STREAM_NOT_YET(StreamPodSandboxMetrics, StreamPodSandboxMetricsRequest, StreamPodSandboxMetricsResponse)

 private:
  Calls& calls_;
  pod::WorkerPool& quick_;
  pod::WorkerPool& slow_;
  pod::WorkerPool& ends_;
};

class ImageService final : public v1::ImageService::CallbackService {
 public:
  ImageService(Calls& calls, pod::WorkerPool& quick, pod::WorkerPool& slow)
      : calls_(calls), quick_(quick), slow_(slow) {}

  BERTH_UNARY(quick_, ListImages)
  BERTH_UNARY(quick_, ImageStatus)
  BERTH_UNARY(quick_, ImageFsInfo)
  BERTH_UNARY(slow_, PullImage)
  BERTH_UNARY(slow_, RemoveImage)
  BERTH_STREAM_NOT_YET(StreamImages, StreamImagesRequest, StreamImagesResponse)

 private:
  Calls& calls_;
  pod::WorkerPool& quick_;
  pod::WorkerPool& slow_;
};

#undef BERTH_UNARY
#undef BERTH_NOT_YET
#undef BERTH_STREAM_NOT_YET

class GrpcServer final : public Server {
 public:
  GrpcServer(Calls& calls, AdminCalls& admin)
      : runtime_(calls, quick_, slow_, ends_),
        image_(calls, quick_, slow_),
        admin_(NewAdminService(admin, quick_, slow_)) {}

  absl::Status Listen(const std::string& socket) {
    RETURN_IF_ERROR(sys::RemoveStaleSocket(socket), "socket");
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix://" + socket, grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(kMaxMessage);
    builder.SetMaxSendMessageSize(kMaxMessage);
    builder.RegisterService(&runtime_);
    builder.RegisterService(&image_);
    builder.RegisterService(admin_.get());
    mode_t before = umask(0177);  // nobody but root may talk to us, from the first instant
    server_ = builder.BuildAndStart();
    umask(before);
    if (!server_) return absl::UnavailableError(absl::StrCat("cannot listen on '", socket, "'"));
    return absl::OkStatus();
  }

  void Shutdown(absl::Duration grace) override {
    if (server_) server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  }

 private:
  // Reads never wait behind pulls, stops and execs, and nothing waits behind stops and removals, which may take as long
  // as the pod's grace: each has a thread at once or is refused (docs/design/0039-stop-ladder.md).
  pod::WorkerPool quick_{16, 4096};
  pod::WorkerPool slow_{256, 1024};
  pod::WorkerPool ends_{2048, 0, "stops and removals"};
  RuntimeService runtime_;
  ImageService image_;
  std::unique_ptr<grpc::Service> admin_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Listen(const std::string& socket, Calls& calls, AdminCalls& admin) {
  auto server = std::make_unique<GrpcServer>(calls, admin);
  RETURN_IF_ERROR(server->Listen(socket));
  return server;
}

}  // namespace berth::service
