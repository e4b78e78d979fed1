// What each call of berth.v1 does, without gRPC: messages in, messages and a status out. The contract is
// proto/berth/v1/berth.proto.
#pragma once

#include <utility>

#include "berth/v1/berth.pb.h"
#include "cri/pod/engine.h"
#include "cri/service/calls.h"
#include "cri/service/stream.h"
#include "image/store.h"
#include "runtime/base/status.h"

namespace berth::service {

namespace admin = ::berth::v1;

// Thread-safe. Every call may block; the codes are those of image::Store. A call that streams ends when nobody listens.
class AdminCalls {
 public:
  AdminCalls(image::Store& images, DaemonInfo info) : images_(images), info_(std::move(info)) {}

  // admin_info.cc
  absl::Status Info(const pod::CallContext&, const admin::InfoRequest&, admin::InfoResponse&);
  // admin_pull.cc
  absl::Status PullWithProgress(const pod::CallContext&, const admin::PullRequest&, Writer<admin::PullProgress>&);
  // admin_images.cc
  absl::Status TagImage(const pod::CallContext&, const admin::TagImageRequest&, admin::TagImageResponse&);
  absl::Status PruneImages(const pod::CallContext&, const admin::PruneImagesRequest&, admin::PruneImagesResponse&);
  absl::Status DiskUsage(const pod::CallContext&, const admin::DiskUsageRequest&, admin::DiskUsageResponse&);
  // admin_transfer.cc
  absl::Status PushImage(const pod::CallContext&, const admin::PushRequest&, Writer<admin::PushProgress>&);
  absl::Status SaveImages(const pod::CallContext&, const admin::SaveRequest&, Writer<admin::SaveChunk>&);
  absl::Status LoadImages(const pod::CallContext&, Reader<admin::LoadChunk>&, admin::LoadResponse&);

 private:
  image::Store& images_;
  const DaemonInfo info_;
};

}  // namespace berth::service
