#include <algorithm>

#include "cri/service/admin_calls.h"
#include "cri/service/credentials.h"

namespace berth::service {
namespace {

constexpr size_t kChunk = 1 << 20;  // of an archive in one message

admin::PushProgress ToMessage(const std::vector<image::BlobProgress>& blobs) {
  admin::PushProgress out;
  for (const image::BlobProgress& blob : blobs) {
    auto* message = out.add_blobs();
    message->set_digest(blob.digest);
    message->set_bytes_done(blob.done);
    message->set_bytes_total(blob.total);
    message->set_already_there(blob.already_there);
    message->set_done(blob.finished);
  }
  return out;
}

// Cuts an archive into messages.
class ChunkWriter {
 public:
  explicit ChunkWriter(Writer<admin::SaveChunk>& out) : out_(out) {}

  absl::Status Write(absl::string_view bytes) {
    while (!bytes.empty()) {
      size_t n = std::min(kChunk - pending_.size(), bytes.size());
      pending_.append(bytes.data(), n);
      bytes.remove_prefix(n);
      if (pending_.size() == kChunk) RETURN_IF_ERROR(Flush());
    }
    return absl::OkStatus();
  }

  absl::Status Flush() {
    admin::SaveChunk chunk;
    chunk.set_data(std::exchange(pending_, {}));
    if (chunk.data().empty() || out_.Write(std::move(chunk))) return absl::OkStatus();
    return absl::CancelledError("the caller is gone");
  }

 private:
  Writer<admin::SaveChunk>& out_;
  std::string pending_;
};

}  // namespace

absl::Status AdminCalls::PushImage(const pod::CallContext& call, const admin::PushRequest& request,
                                   Writer<admin::PushProgress>& out) {
  if (request.image().empty()) return absl::InvalidArgumentError("image: is empty");
  bool heard = true;
  admin::PushProgress last;
  image::PushRequest push;
  push.image = request.image();
  push.destination = request.destination();
  push.compression = request.compression();
  push.credentials = ToCredentials(request.auth());
  push.progress = [&](const std::vector<image::BlobProgress>& blobs) {
    last = ToMessage(blobs);
    heard = heard && out.Write(last);
  };
  push.cancelled = [&] { return call.cancelled(); };
  ASSIGN_OR_RETURN(image::PushResult result, images_.Push(push));
  last.set_digest(result.digest);
  last.set_name(result.name);
  out.Write(std::move(last));
  return absl::OkStatus();
}

absl::Status AdminCalls::SaveImages(const pod::CallContext& call, const admin::SaveRequest& request,
                                    Writer<admin::SaveChunk>& out) {
  if (request.images().empty()) return absl::InvalidArgumentError("images: is empty");
  image::SaveRequest save;
  save.images = {request.images().begin(), request.images().end()};
  switch (request.format()) {
    case admin::ARCHIVE_FORMAT_UNSPECIFIED:
    case admin::ARCHIVE_FORMAT_OCI:
      break;
    case admin::ARCHIVE_FORMAT_DOCKER:
      save.format = image::ArchiveFormat::kDocker;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("format: ", request.format(), " is not known"));
  }
  ChunkWriter chunks(out);
  save.output = [&](absl::string_view bytes) -> absl::Status {
    if (call.cancelled()) return absl::CancelledError("the caller is gone");
    return chunks.Write(bytes);
  };
  RETURN_IF_ERROR(images_.Save(save));
  return chunks.Flush();
}

absl::Status AdminCalls::LoadImages(const pod::CallContext& call, Reader<admin::LoadChunk>& in,
                                    admin::LoadResponse& response) {
  admin::LoadChunk chunk;
  image::LoadRequest load;
  load.input = [&]() -> absl::StatusOr<absl::string_view> {
    while (in.Read(&chunk)) {
      if (!chunk.data().empty()) return absl::string_view(chunk.data());
    }
    if (call.cancelled()) return absl::CancelledError("the caller is gone");
    return absl::string_view();
  };
  load.cancelled = call.cancelled;
  ASSIGN_OR_RETURN(std::vector<image::Image> images, images_.Load(load));
  for (const image::Image& image : images) {
    auto* loaded = response.add_images();
    loaded->set_id(image.id.str());
    for (const std::string& name : image.repo_tags) loaded->add_names(name);
  }
  return absl::OkStatus();
}

}  // namespace berth::service
