#include "cri/service/admin_service.h"

#include "berth/v1/berth.grpc.pb.h"
#include "cri/service/reactors.h"

namespace berth::service {
namespace {

using grpc::CallbackServerContext;

#define BERTH_UNARY(pool, Name)                                                                       \
  grpc::ServerUnaryReactor* Name(CallbackServerContext* context, const admin::Name##Request* request, \
                                 admin::Name##Response* response) override {                          \
    return Unary(context, pool, #Name, [this, request, response](const pod::CallContext& call) {      \
      return calls_.Name(call, *request, *response);                                                  \
    });                                                                                               \
  }
#define BERTH_SERVER_STREAM(pool, Name, Request, Response)                                                       \
  grpc::ServerWriteReactor<admin::Response>* Name(CallbackServerContext* context, const admin::Request* request) \
      override {                                                                                                 \
    return ServerStreaming<admin::Response>(                                                                     \
        context, pool, #Name, [this, request](const pod::CallContext& call, Writer<admin::Response>& out) {      \
          return calls_.Name(call, *request, out);                                                               \
        });                                                                                                      \
  }
#define BERTH_CLIENT_STREAM(pool, Name, Request, Response)                                                            \
  grpc::ServerReadReactor<admin::Request>* Name(CallbackServerContext* context, admin::Response* response) override { \
    return ClientStreaming<admin::Request>(                                                                           \
        context, pool, #Name, [this, response](const pod::CallContext& call, Reader<admin::Request>& in) {            \
          return calls_.Name(call, in, *response);                                                                    \
        });                                                                                                           \
  }

class AdminService final : public admin::Admin::CallbackService {
 public:
  AdminService(AdminCalls& calls, pod::WorkerPool& quick, pod::WorkerPool& slow)
      : calls_(calls), quick_(quick), slow_(slow) {}

  BERTH_UNARY(quick_, Info)
  BERTH_UNARY(quick_, DiskUsage)
  BERTH_UNARY(slow_, TagImage)
  BERTH_UNARY(slow_, PruneImages)
  BERTH_SERVER_STREAM(slow_, PullWithProgress, PullRequest, PullProgress)
  BERTH_SERVER_STREAM(slow_, PushImage, PushRequest, PushProgress)
  BERTH_SERVER_STREAM(slow_, SaveImages, SaveRequest, SaveChunk)
  BERTH_CLIENT_STREAM(slow_, LoadImages, LoadChunk, LoadResponse)

 private:
  AdminCalls& calls_;
  pod::WorkerPool& quick_;
  pod::WorkerPool& slow_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewAdminService(AdminCalls& calls, pod::WorkerPool& quick, pod::WorkerPool& slow) {
  return std::make_unique<AdminService>(calls, quick, slow);
}

}  // namespace berth::service
