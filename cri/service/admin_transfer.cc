#include "cri/service/admin_calls.h"

namespace berth::service {

absl::Status AdminCalls::PushImage(const pod::CallContext&, const admin::PushRequest&, Writer<admin::PushProgress>&) {
  return absl::UnimplementedError("PushImage is not implemented by this version of berth");
}

absl::Status AdminCalls::SaveImages(const pod::CallContext&, const admin::SaveRequest&, Writer<admin::SaveChunk>&) {
  return absl::UnimplementedError("SaveImages is not implemented by this version of berth");
}

absl::Status AdminCalls::LoadImages(const pod::CallContext&, Reader<admin::LoadChunk>&, admin::LoadResponse&) {
  return absl::UnimplementedError("LoadImages is not implemented by this version of berth");
}

}  // namespace berth::service
