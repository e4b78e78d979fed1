#include "image/unpack/layer_receiver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "image/unpack/layer_record.h"
#include "runtime/base/id.h"
#include "runtime/base/undo.h"
#include "runtime/sys/file.h"

namespace berth::image {

absl::StatusOr<std::unique_ptr<LayerReceiver>> LayerReceiver::Create(int staging, const LayerBlob& blob,
                                                                     const UnpackLimits& limits,
                                                                     const Options& options) {
  for (const std::string* digest : {&blob.digest, &blob.diff_id}) {
    if (!digest->empty()) RETURN_IF_ERROR(CheckDigest(*digest));
  }
  std::string name = RandomHexId().substr(0, 32);
  if (mkdirat(staging, name.c_str(), 0700) != 0) return ErrnoError(errno, absl::StrCat("mkdir '", name, "'"));
  Undo undo;
  undo.Add([&] { sys::RemoveTreeAt(staging, name).IgnoreError(); });
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::OpenAt(staging, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  ASSIGN_OR_RETURN(std::unique_ptr<LayerBuilder> builder, options.format == LayerFormat::kErofs
                                                              ? NewErofsBuilder(dir.get(), limits)
                                                              : NewDirectoryBuilder(dir.get(), limits));
  undo.Commit();  // from here on it is the receiver's
  std::unique_ptr<LayerReceiver> receiver(
      new LayerReceiver(staging, blob, limits, std::move(name), std::move(dir), std::move(builder)));
  if (options.keep_blob && !blob.digest.empty()) {  // what nobody promised is no blob of a registry
    ASSIGN_OR_RETURN(receiver->blob_file_,
                     sys::OpenAt(receiver->dir_.get(), kLayerBlob, O_WRONLY | O_CREAT | O_EXCL, 0600));
  }
  return receiver;
}

LayerReceiver::LayerReceiver(int staging, const LayerBlob& blob, const UnpackLimits& limits, std::string name,
                             sys::UniqueFd dir, std::unique_ptr<LayerBuilder> builder)
    : staging_(staging),
      blob_(blob),
      limits_(limits),
      name_(std::move(name)),
      dir_(std::move(dir)),
      blob_hash_(blob.digest),
      diff_hash_(blob.diff_id),
      builder_(std::move(builder)),
      parser_(&builder_->Visitor(), limits) {}

LayerReceiver::~LayerReceiver() {
  // What cannot be removed now is removed when the store is opened the next time.
  if (!name_.empty()) sys::RemoveTreeAt(staging_, name_).IgnoreError();
}

absl::Status LayerReceiver::Write(absl::string_view compressed) {
  if (status_.ok() && finished_) status_ = absl::FailedPreconditionError("the layer is finished");
  if (status_.ok()) status_ = Annotate(Receive(compressed), absl::StrCat("layer ", blob_.digest));
  return status_;
}

absl::Status LayerReceiver::Receive(absl::string_view compressed) {
  received_ += compressed.size();
  if (!blob_.digest.empty()) {
    if (received_ > blob_.size) {
      return absl::DataLossError(absl::StrCat("more than the promised ", blob_.size, " bytes"));
    }
    blob_hash_.Update(compressed);
  }
  if (blob_file_) RETURN_IF_ERROR(sys::WriteAll(blob_file_.get(), compressed, kLayerBlob));
  return decompressor_.Write(compressed, [this](absl::string_view bytes) { return Plain(bytes); });
}

absl::Status LayerReceiver::Plain(absl::string_view bytes) {
  plain_ += bytes.size();
  if (plain_ > limits_.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("unpacks to more than ", limits_.max_bytes, " bytes"));
  }
  if (plain_ > limits_.ratio_from && plain_ / limits_.max_ratio > received_) {
    return absl::ResourceExhaustedError(absl::StrCat("unpacks to ", plain_, " bytes from ", received_, ", more than ",
                                                     limits_.max_ratio, " times as many"));
  }
  diff_hash_.Update(bytes);
  RETURN_IF_ERROR(builder_->Archive(bytes));
  return parser_.Write(bytes);
}

absl::StatusOr<LayerResult> LayerReceiver::Finish() {
  if (status_.ok() && !finished_) {
    status_ = Annotate(Complete(), absl::StrCat("layer ", blob_.digest));
    finished_ = status_.ok();
  }
  if (!status_.ok()) return status_;
  return LayerResult{info_.diff_id, received_, info_.bytes, info_.inodes, info_.implied_parents};
}

absl::Status LayerReceiver::Complete() {
  // Whether the bytes are those that were promised is asked first: what else is wrong follows from it.
  if (!blob_.digest.empty()) {
    if (received_ != blob_.size) {
      return absl::DataLossError(absl::StrCat("ends after ", received_, " of ", blob_.size, " bytes"));
    }
    if (std::string real = blob_hash_.Finish(); real != blob_.digest) {
      return absl::DataLossError(absl::StrCat("the digest is ", real));
    }
  }
  RETURN_IF_ERROR(decompressor_.Finish([this](absl::string_view bytes) { return Plain(bytes); }));
  info_.diff_id = diff_hash_.Finish();
  if (!blob_.diff_id.empty() && info_.diff_id != blob_.diff_id) {
    return absl::DataLossError(absl::StrCat("the diffID is ", info_.diff_id, ", not ", blob_.diff_id));
  }
  RETURN_IF_ERROR(parser_.Finish());
  RETURN_IF_ERROR(builder_->Finish(info_));
  if (blob_file_) RETURN_IF_ERROR(CompleteBlob());
  return WriteRecord();
}

absl::Status LayerReceiver::CompleteBlob() {
  info_.blob_digest = blob_.digest;
  info_.blob_size = received_;
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(blob_file_.get(), kLayerBlob));
  info_.bytes += static_cast<uint64_t>(st.st_blocks) * 512;
  info_.inodes += 1;
  if (builder_->Synced() && fdatasync(blob_file_.get()) != 0) return ErrnoError(errno, "sync of a blob");
  return absl::OkStatus();
}

absl::Status LayerReceiver::WriteRecord() {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(dir_.get(), kLayerRecord, O_WRONLY | O_CREAT | O_EXCL, 0600));
  RETURN_IF_ERROR(sys::WriteAll(file.get(), EncodeLayerRecord(info_), kLayerRecord));
  if (!builder_->Synced()) return absl::OkStatus();
  if (fdatasync(file.get()) != 0 || fsync(dir_.get()) != 0) return ErrnoError(errno, "sync of a layer's record");
  return absl::OkStatus();
}

}  // namespace berth::image
