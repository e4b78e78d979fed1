#include <algorithm>

#include "absl/strings/match.h"
#include "cri/service/calls.h"
#include "cri/service/convert.h"
#include "cri/service/credentials.h"
#include "runtime/base/json.h"

namespace berth::service {
namespace {

// The kubelet tells classes of failed pulls apart by how the message begins (cri-api's pkg/errors), and it compares
// only messages of UNKNOWN: before any other code's it puts that code.
absl::Status ForKubelet(const absl::Status& status) {
  for (absl::string_view error_class : {"RegistryUnavailable", "SignatureValidationFailed"}) {
    if (absl::StartsWith(status.message(), error_class)) return absl::UnknownError(status.message());
  }
  return status;
}

}  // namespace

absl::Status Calls::ListImages(const pod::CallContext&, const v1::ListImagesRequest& request,
                               v1::ListImagesResponse& out) {
  const std::string& reference = request.filter().image().image();
  if (!reference.empty()) {
    auto image = images_.Find(reference);
    if (image.ok()) *out.add_images() = ToImage(*image);
    return absl::IsNotFound(image.status()) ? absl::OkStatus() : image.status();
  }
  ASSIGN_OR_RETURN(std::vector<image::Image> images, images_.List());
  for (const image::Image& image : images) *out.add_images() = ToImage(image);
  return absl::OkStatus();
}

absl::Status Calls::ImageStatus(const pod::CallContext&, const v1::ImageStatusRequest& request,
                                v1::ImageStatusResponse& out) {
  if (request.image().image().empty()) return absl::InvalidArgumentError("image.image: is empty");
  auto image = images_.Find(request.image().image());
  if (absl::IsNotFound(image.status()))
    return absl::OkStatus();  // an answer without an image is how CRI says "not here"
  RETURN_IF_ERROR(image);
  *out.mutable_image() = ToImage(*image);
  if (request.verbose()) {
    const image::ImageConfig& c = image->config;
    Json config = {{"Env", c.env},
                   {"Entrypoint", c.entrypoint},
                   {"Cmd", c.cmd},
                   {"User", c.user},
                   {"Labels", c.labels},
                   {"WorkingDir", c.working_dir},
                   {"StopSignal", c.stop_signal},
                   {"Volumes", c.volumes},
                   {"ExposedPorts", c.exposed_ports}};
    Json info = {{"layers", image->layers},
                 {"imageSpec", {{"architecture", c.architecture}, {"os", c.os}, {"config", config}}}};
    if (!c.artifact_type.empty()) info["artifactType"] = c.artifact_type;
    (*out.mutable_info())["info"] = DumpJson(info);
  }
  return absl::OkStatus();
}

absl::Status Calls::PullImage(const pod::CallContext& call, const v1::PullImageRequest& request,
                              v1::PullImageResponse& out) {
  if (request.image().image().empty()) return absl::InvalidArgumentError("image.image: is empty");
  RETURN_IF_ERROR(CheckRuntimeHandler(request.image().runtime_handler()), "image");
  image::PullRequest pull;
  pull.reference = request.image().image();
  ASSIGN_OR_RETURN(pull.credentials, ToCredentials(request.auth()));
  pull.cancelled = call.cancelled;
  absl::StatusOr<image::Image> image = images_.Pull(pull);
  if (!image.ok()) return ForKubelet(image.status());
  out.set_image_ref(image->id.str());
  return absl::OkStatus();
}

absl::Status Calls::RemoveImage(const pod::CallContext&, const v1::RemoveImageRequest& request,
                                v1::RemoveImageResponse&) {
  if (request.image().image().empty()) return absl::InvalidArgumentError("image.image: is empty");
  return images_.Remove(request.image().image());
}

absl::Status Calls::ImageFsInfo(const pod::CallContext&, const v1::ImageFsInfoRequest&, v1::ImageFsInfoResponse& out) {
  *out.add_image_filesystems() = ToFilesystemUsage(images_.Usage());
  *out.add_container_filesystems() = ToFilesystemUsage(images_.SnapshotsUsage());
  return absl::OkStatus();
}

}  // namespace berth::service
