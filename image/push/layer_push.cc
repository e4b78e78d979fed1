#include "image/push/layer_push.h"

#include "image/content/read_range.h"
#include "image/pull/kept_blob.h"

namespace berth::image {
namespace {

using Produce = std::function<absl::Status(BlobUpload&)>;

// An upload that the registry lost begins anew, from the blob's first byte.
absl::StatusOr<UploadedBlob> UploadRestarting(RepositoryWriter& writer, const std::function<void(uint64_t)>& progress,
                                              size_t chunk, const Produce& produce) {
  for (int failures = 1;; ++failures) {
    absl::Status status;
    {
      BlobUpload upload(&writer, progress, chunk);
      status = produce(upload);
      if (status.ok()) {
        absl::StatusOr<UploadedBlob> blob = upload.Finish();
        if (blob.ok()) return blob;
        status = blob.status();
      }
    }
    if (!absl::IsAborted(status)) return status;
    RETURN_IF_ERROR(writer.PauseAfter(absl::UnavailableError(status.message()), failures));
  }
}

absl::Status CompressLayer(const LayerPush& push, const std::string& diff_id, BlobUpload& upload) {
  Compressor compressor(push.compression);
  auto out = [&](absl::string_view bytes) { return upload.Write(bytes); };
  RETURN_IF_ERROR(
      push.layers->ReadArchive(diff_id, [&](absl::string_view bytes) { return compressor.Write(bytes, out); }));
  return compressor.Finish(out);
}

// The blob if the registry has it in this repository.
absl::StatusOr<std::optional<UploadedBlob>> Present(const LayerPush& push, absl::string_view digest, uint64_t size) {
  absl::StatusOr<uint64_t> there = push.writer->BlobSize(digest);
  if (there.ok() && *there == size) {
    return std::optional<UploadedBlob>({.digest = std::string(digest), .size = size, .already_there = true});
  }
  if (there.ok() || absl::IsNotFound(there.status())) return std::optional<UploadedBlob>();
  return there.status();
}

absl::StatusOr<std::optional<UploadedBlob>> FindAtRegistry(const LayerPush& push, const Descriptor& pulled,
                                                           const std::string& diff_id) {
  ASSIGN_OR_RETURN(std::optional<UploadedBlob> blob, Present(push, pulled.digest, pulled.size));
  if (blob) return blob;
  for (const std::string& sibling : push.siblings) {
    ASSIGN_OR_RETURN(bool mounted, push.writer->Mount(pulled.digest, sibling));
    if (!mounted) continue;
    return std::optional<UploadedBlob>({.digest = pulled.digest, .size = pulled.size, .already_there = true});
  }
  if (OpenKeptBlob(*push.layers, diff_id, pulled).ok()) return blob;
  std::optional<UploadedBlob> known = push.known->Find(diff_id, push.compression);
  if (!known) return blob;
  return Present(push, known->digest, known->size);
}

}  // namespace

absl::StatusOr<UploadedBlob> PushLayer(const LayerPush& push, const Descriptor& pulled, const std::string& diff_id,
                                       const std::function<void(uint64_t)>& progress) {
  ASSIGN_OR_RETURN(std::optional<UploadedBlob> there, FindAtRegistry(push, pulled, diff_id));
  if (there) return *there;
  if (auto kept = OpenKeptBlob(*push.layers, diff_id, pulled); kept.ok()) {
    ASSIGN_OR_RETURN(UploadedBlob blob, UploadRestarting(*push.writer, progress, push.chunk, [&](BlobUpload& upload) {
                       return ReadRange(kept->get(), 0, pulled.size, absl::StrCat("the kept blob ", pulled.digest),
                                        [&](absl::string_view bytes) { return upload.Write(bytes); });
                     }));
    if (blob.digest == pulled.digest) return blob;
    return absl::DataLossError(absl::StrCat("the kept blob ", pulled.digest, " is damaged"));
  }
  ASSIGN_OR_RETURN(UploadedBlob blob, UploadRestarting(*push.writer, progress, push.chunk, [&](BlobUpload& upload) {
                     return CompressLayer(push, diff_id, upload);
                   }));
  // What is not remembered is made again the next time.
  push.known->Remember(diff_id, push.compression, blob).IgnoreError();
  return blob;
}

absl::StatusOr<UploadedBlob> PushBytes(RepositoryWriter& writer, absl::string_view bytes) {
  return UploadRestarting(writer, {}, BlobUpload::kChunk, [&](BlobUpload& upload) { return upload.Write(bytes); });
}

}  // namespace berth::image
