// The gRPC inside of CriClient; included by client/*.cc alone, to keep generated headers out of the
// rest.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "berth/v1/berth.grpc.pb.h"
#include "cli/client/cri_client.h"
#include "cli/client/rpc_error.h"
#include "cri/v1/api.grpc.pb.h"

namespace berth::cli {

namespace cri = ::runtime::v1;

// Whether a call has a bound when the user names none.
enum class Bound { kDefault, kAsLongAsItTakes };

struct CriClient::Impl {
  std::string socket_path;
  std::optional<absl::Duration> timeout;
  std::unique_ptr<cri::RuntimeService::Stub> runtime;
  std::unique_ptr<cri::ImageService::Stub> images;
  std::unique_ptr<berth::v1::Admin::Stub> admin;

  absl::Mutex mu;
  bool interrupted ABSL_GUARDED_BY(mu) = false;
  std::set<grpc::ClientContext*> calls ABSL_GUARDED_BY(mu);

  // A context with its deadline, cancelled by Interrupt() for as long as it lives.
  class Context {
   public:
    Context(Impl* impl, Bound bound);
    ~Context();
    grpc::ClientContext* get() { return &context_; }

   private:
    Impl* impl_;
    grpc::ClientContext context_;
  };

  absl::Status ToStatus(const grpc::Status& status);

  template <typename Stub, typename Request, typename Response>
  absl::Status Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response, Bound bound = Bound::kDefault) {
    Context context(this, bound);
    return ToStatus((stub.*method)(context.get(), request, response));
  }
};

// `status` and the `info` map of a verbose answer as one JSON document; info values that are JSON
// are nested as such.
std::string InspectJson(const google::protobuf::Message& status,
                        const google::protobuf::Map<std::string, std::string>& info);

template <typename Map>
StringMap ToStringMap(const Map& map) {
  return StringMap(map.begin(), map.end());
}

}  // namespace berth::cli
