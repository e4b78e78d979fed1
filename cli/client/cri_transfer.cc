#include <string>
#include <utility>
#include <vector>

#include "cli/client/client_impl.h"
#include "cli/client/cri_client.h"

namespace berth::cli {
namespace {

std::vector<BlobState> FromWire(const berth::v1::PushProgress& progress) {
  std::vector<BlobState> blobs;
  for (const auto& blob : progress.blobs()) {
    blobs.push_back({.digest = blob.digest(),
                     .done = blob.bytes_done(),
                     .total = blob.bytes_total(),
                     .already_there = blob.already_there(),
                     .finished = blob.done()});
  }
  return blobs;
}

}  // namespace

absl::StatusOr<PushedImage> CriClient::PushImage(const PushOptions& options,
                                                 const std::optional<Credentials>& credentials,
                                                 const PushWatcher& watch) {
  berth::v1::PushRequest request;
  request.set_image(options.image);
  request.set_destination(options.destination);
  request.set_compression(options.compression);
  if (credentials) {
    request.mutable_auth()->set_username(credentials->username);
    request.mutable_auth()->set_password(credentials->password);
  }
  Impl::Context context(impl_.get(), Bound::kAsLongAsItTakes);
  auto stream = impl_->admin->PushImage(context.get(), request);
  berth::v1::PushProgress progress;
  PushedImage pushed;
  while (stream->Read(&progress)) {
    if (watch) watch(FromWire(progress));
    if (!progress.digest().empty()) pushed = {progress.name(), progress.digest()};
  }
  RETURN_IF_ERROR(impl_->ToStatus(stream->Finish()));
  if (pushed.digest.empty()) return absl::InternalError("berthd ended the push without naming the manifest");
  return pushed;
}

absl::Status CriClient::SaveImages(const std::vector<std::string>& images, bool docker, const ArchiveSink& sink) {
  berth::v1::SaveRequest request;
  for (const std::string& image : images) request.add_images(image);
  request.set_format(docker ? berth::v1::ARCHIVE_FORMAT_DOCKER : berth::v1::ARCHIVE_FORMAT_OCI);
  Impl::Context context(impl_.get(), Bound::kAsLongAsItTakes);
  auto stream = impl_->admin->SaveImages(context.get(), request);
  berth::v1::SaveChunk chunk;
  absl::Status taken;
  while (taken.ok() && stream->Read(&chunk)) taken = sink(chunk.data());
  if (!taken.ok()) context.get()->TryCancel();
  absl::Status saved = impl_->ToStatus(stream->Finish());
  return taken.ok() ? saved : taken;
}

absl::StatusOr<std::vector<LoadedImage>> CriClient::LoadImages(const ArchiveSource& source) {
  Impl::Context context(impl_.get(), Bound::kAsLongAsItTakes);
  berth::v1::LoadResponse response;
  auto stream = impl_->admin->LoadImages(context.get(), &response);
  absl::Status given;
  for (berth::v1::LoadChunk chunk;;) {
    given = source(*chunk.mutable_data());
    if (!given.ok()) context.get()->TryCancel();
    // The daemon stops reading as soon as it knows that it does not want the archive; why is in its status.
    if (!given.ok() || chunk.data().empty() || !stream->Write(chunk)) break;
  }
  stream->WritesDone();
  absl::Status loaded = impl_->ToStatus(stream->Finish());
  RETURN_IF_ERROR(given);
  RETURN_IF_ERROR(loaded);
  std::vector<LoadedImage> images;
  for (const auto& image : response.images()) {
    images.push_back({image.id(), {image.names().begin(), image.names().end()}});
  }
  return images;
}

}  // namespace berth::cli
