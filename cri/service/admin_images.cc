#include "cri/service/admin_calls.h"

namespace berth::service {

absl::Status AdminCalls::TagImage(const pod::CallContext&, const admin::TagImageRequest& request,
                                  admin::TagImageResponse& out) {
  if (request.image().empty()) return absl::InvalidArgumentError("image: is empty");
  if (request.name().empty()) return absl::InvalidArgumentError("name: is empty");
  ASSIGN_OR_RETURN(*out.mutable_name(), images_.Tag(request.image(), request.name()));
  return absl::OkStatus();
}

absl::Status AdminCalls::PruneImages(const pod::CallContext&, const admin::PruneImagesRequest& request,
                                     admin::PruneImagesResponse& out) {
  ASSIGN_OR_RETURN(image::PruneResult result,
                   images_.Prune({.untagged_only = request.untagged_only(), .dry_run = request.dry_run()}));
  for (const image::Image& image : result.images) {
    admin::PruneImagesResponse::Removed& removed = *out.add_images();
    removed.set_id(image.id.str());
    for (const auto* names : {&image.repo_tags, &image.repo_digests}) {
      for (const std::string& name : *names) removed.add_names(name);
    }
  }
  out.set_bytes(result.bytes);
  return absl::OkStatus();
}

absl::Status AdminCalls::DiskUsage(const pod::CallContext&, const admin::DiskUsageRequest&,
                                   admin::DiskUsageResponse& out) {
  ASSIGN_OR_RETURN(image::UsageReport report, images_.Report());
  for (const image::UsageReport::Layer& layer : report.layers) {
    admin::DiskUsageResponse::Layer& to = *out.add_layers();
    to.set_diff_id(layer.diff_id);
    to.set_bytes(layer.bytes);
    to.set_inodes(layer.inodes);
    to.set_format(layer.format);
    to.set_images(layer.images);
  }
  for (const image::UsageReport::OfImage& of : report.images) {
    admin::DiskUsageResponse::Image& to = *out.add_images();
    to.set_id(of.image.id.str());
    for (const auto* names : {&of.image.repo_tags, &of.image.repo_digests}) {
      for (const std::string& name : *names) to.add_names(name);
    }
    to.set_bytes(of.bytes);
    to.set_own_bytes(of.own_bytes);
    to.set_containers(of.containers);
    to.set_pinned(of.image.pinned);
  }
  for (const image::UsageReport::Snapshot& snapshot : report.snapshots) {
    admin::DiskUsageResponse::Snapshot& to = *out.add_snapshots();
    to.set_container_id(snapshot.id.str());
    to.set_bytes(snapshot.bytes);
    to.set_inodes(snapshot.inodes);
  }
  out.set_content_bytes(report.content_bytes);
  out.set_reclaimable_bytes(report.reclaimable_bytes);
  out.set_free_bytes(report.free_bytes);
  out.set_snapshots_measured_at(absl::ToUnixNanos(report.snapshots_measured_at));
  return absl::OkStatus();
}

}  // namespace berth::service
