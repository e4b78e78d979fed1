// berth.v1 over gRPC.
#pragma once

#include <memory>

#include "cri/pod/worker_pool.h"
#include "cri/service/admin_calls.h"

namespace grpc {
class Service;
}

namespace berth::service {

// All outlive the service. Reads run on `quick`, the rest on `slow`.
std::unique_ptr<grpc::Service> NewAdminService(AdminCalls& calls, pod::WorkerPool& quick, pod::WorkerPool& slow);

}  // namespace berth::service
