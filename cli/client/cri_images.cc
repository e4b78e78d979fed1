#include <string>
#include <utility>
#include <vector>

#include "cli/client/client_impl.h"
#include "cli/client/cri_client.h"

namespace berth::cli {
namespace {

using Images = cri::ImageService::Stub;

ImageInfo FromWire(const cri::Image& image) {
  ImageInfo info;
  info.id = image.id();
  info.tags.assign(image.repo_tags().begin(), image.repo_tags().end());
  info.digests.assign(image.repo_digests().begin(), image.repo_digests().end());
  info.size = image.size();
  if (image.has_uid()) info.uid = image.uid().value();
  info.username = image.username();
  info.pinned = image.pinned();
  return info;
}

PullPhase FromWire(berth::v1::PullPhase phase) {
  switch (phase) {
    case berth::v1::PULL_PHASE_RESOLVING:
      return PullPhase::kResolving;
    case berth::v1::PULL_PHASE_WAITING:
      return PullPhase::kWaiting;
    case berth::v1::PULL_PHASE_DOWNLOADING:
      return PullPhase::kDownloading;
    case berth::v1::PULL_PHASE_UNPACKING:
      return PullPhase::kUnpacking;
    case berth::v1::PULL_PHASE_DONE:
      return PullPhase::kDone;
    default:
      return PullPhase::kUnknown;
  }
}

PullState FromWire(const berth::v1::PullProgress& progress) {
  PullState state{.phase = FromWire(progress.phase())};
  for (const auto& layer : progress.layers()) {
    state.layers.push_back({layer.digest(), FromWire(layer.phase()), layer.bytes_done(), layer.bytes_total()});
  }
  return state;
}

}  // namespace

absl::string_view PhaseName(PullPhase phase) {
  switch (phase) {
    case PullPhase::kResolving:
      return "resolving";
    case PullPhase::kWaiting:
      return "waiting";
    case PullPhase::kDownloading:
      return "downloading";
    case PullPhase::kUnpacking:
      return "unpacking";
    case PullPhase::kDone:
      return "done";
    case PullPhase::kUnknown:
      break;
  }
  return "working";
}

absl::StatusOr<std::vector<ImageInfo>> CriClient::ListImages() {
  cri::ListImagesRequest request;
  cri::ListImagesResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->images, &Images::ListImages, request, &response));
  std::vector<ImageInfo> images;
  for (const auto& image : response.images()) images.push_back(FromWire(image));
  return images;
}

absl::StatusOr<std::optional<ImageInfo>> CriClient::FindImage(const std::string& reference) {
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(reference);
  cri::ImageStatusResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->images, &Images::ImageStatus, request, &response));
  if (!response.has_image()) return std::optional<ImageInfo>();
  return std::optional<ImageInfo>(FromWire(response.image()));
}

absl::StatusOr<std::string> CriClient::InspectImage(const std::string& reference) {
  cri::ImageStatusRequest request;
  request.mutable_image()->set_image(reference);
  request.set_verbose(true);
  cri::ImageStatusResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->images, &Images::ImageStatus, request, &response));
  if (!response.has_image()) return absl::NotFoundError(absl::StrCat("no image '", reference, "'"));
  return InspectJson(response.image(), response.info());
}

absl::StatusOr<std::string> CriClient::PullImage(const std::string& reference,
                                                 const std::optional<Credentials>& credentials,
                                                 const PullWatcher& watch) {
  berth::v1::PullRequest request;
  request.set_image(reference);
  if (credentials) {
    request.mutable_auth()->set_username(credentials->username);
    request.mutable_auth()->set_password(credentials->password);
  }
  absl::Status got;
  {
    Impl::Context context(impl_.get(), Bound::kAsLongAsItTakes);
    auto stream = impl_->admin->PullWithProgress(context.get(), request);
    berth::v1::PullProgress progress;
    std::string id;
    while (stream->Read(&progress)) {
      if (watch) watch(FromWire(progress));
      if (!progress.image_id().empty()) id = progress.image_id();
    }
    got = impl_->ToStatus(stream->Finish());
    if (got.ok() && id.empty()) return absl::InternalError("berthd ended the pull without naming the image");
    if (got.ok()) return id;
  }
  if (!absl::IsUnimplemented(got)) return got;

  // Another CRI runtime, or a berthd without berth.v1: the same pull without a view of it.
  cri::PullImageRequest plain;
  plain.mutable_image()->set_image(reference);
  if (credentials) {
    plain.mutable_auth()->set_username(credentials->username);
    plain.mutable_auth()->set_password(credentials->password);
  }
  cri::PullImageResponse response;
  RETURN_IF_ERROR(impl_->Call(*impl_->images, &Images::PullImage, plain, &response, Bound::kAsLongAsItTakes));
  return response.image_ref();
}

absl::Status CriClient::RemoveImage(const std::string& reference) {
  cri::RemoveImageRequest request;
  request.mutable_image()->set_image(reference);
  cri::RemoveImageResponse response;
  return impl_->Call(*impl_->images, &Images::RemoveImage, request, &response);
}

}  // namespace berth::cli
