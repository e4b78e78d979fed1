#include "cli/client/client_impl.h"
#include "cli/client/cri_client.h"

namespace berth::cli {
namespace {

using Admin = berth::v1::Admin::Stub;

template <typename List>
std::vector<std::string> Strings(const List& list) {
  return {list.begin(), list.end()};
}

// What the daemon itself does not say when it has no such service at all.
absl::Status Explain(const absl::Status& status) {
  if (!absl::IsUnimplemented(status)) return status;
  return absl::UnimplementedError("the runtime on this socket cannot do this: it is not berthd, or an older one");
}

}  // namespace

absl::StatusOr<std::string> CriClient::TagImage(const std::string& image, const std::string& name) {
  berth::v1::TagImageRequest request;
  request.set_image(image);
  request.set_name(name);
  berth::v1::TagImageResponse response;
  RETURN_IF_ERROR(Explain(impl_->Call(*impl_->admin, &Admin::TagImage, request, &response)));
  return response.name();
}

absl::StatusOr<PruneReport> CriClient::PruneImages(bool untagged_only, bool dry_run) {
  berth::v1::PruneImagesRequest request;
  request.set_untagged_only(untagged_only);
  request.set_dry_run(dry_run);
  berth::v1::PruneImagesResponse response;
  RETURN_IF_ERROR(Explain(impl_->Call(*impl_->admin, &Admin::PruneImages, request, &response)));
  PruneReport report{.bytes = response.bytes()};
  for (const auto& image : response.images()) report.images.push_back({image.id(), Strings(image.names())});
  return report;
}

absl::StatusOr<DiskReport> CriClient::DiskUsage() {
  berth::v1::DiskUsageResponse response;
  RETURN_IF_ERROR(Explain(impl_->Call(*impl_->admin, &Admin::DiskUsage, berth::v1::DiskUsageRequest(), &response)));
  DiskReport report{.content_bytes = response.content_bytes(),
                    .reclaimable_bytes = response.reclaimable_bytes(),
                    .free_bytes = response.free_bytes(),
                    .snapshots_measured_at = response.snapshots_measured_at()};
  for (const auto& layer : response.layers()) {
    report.layers.push_back({layer.diff_id(), layer.bytes(), layer.inodes(), layer.format(), layer.images()});
  }
  for (const auto& image : response.images()) {
    report.images.push_back(
        {image.id(), Strings(image.names()), image.bytes(), image.own_bytes(), image.containers(), image.pinned()});
  }
  for (const auto& snapshot : response.snapshots()) {
    report.snapshots.push_back({snapshot.container_id(), snapshot.bytes(), snapshot.inodes()});
  }
  return report;
}

}  // namespace berth::cli
