#include "image/unpack/dir_layer_sink.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "image/unpack/layer_record.h"
#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::image {

absl::StatusOr<std::unique_ptr<DirLayerSink>> DirLayerSink::Create(int staging, const LayerBlob& blob,
                                                                   const UnpackLimits& limits) {
  RETURN_IF_ERROR(CheckDigest(blob.digest));
  RETURN_IF_ERROR(CheckDigest(blob.diff_id));
  std::string name = RandomHexId().substr(0, 32);
  if (mkdirat(staging, name.c_str(), 0700) != 0) return ErrnoError(errno, absl::StrCat("mkdir '", name, "'"));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::OpenAt(staging, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (mkdirat(dir.get(), kLayerRoot, 0755) != 0) return ErrnoError(errno, "mkdir of a layer's root");
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::OpenAt(dir.get(), kLayerRoot, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return std::unique_ptr<DirLayerSink>(
      new DirLayerSink(staging, blob, limits, std::move(name), std::move(dir), std::move(root)));
}

DirLayerSink::DirLayerSink(int staging, const LayerBlob& blob, const UnpackLimits& limits, std::string name,
                           sys::UniqueFd dir, sys::UniqueFd root)
    : staging_(staging),
      blob_(blob),
      limits_(limits),
      name_(std::move(name)),
      dir_(std::move(dir)),
      root_(std::move(root)),
      blob_hash_(blob.digest),
      diff_hash_(blob.diff_id),
      applier_(root_.get(), limits),
      parser_(&applier_, limits) {}

DirLayerSink::~DirLayerSink() {
  // What cannot be removed now is removed when the store is opened the next time.
  if (!name_.empty()) sys::RemoveTreeAt(staging_, name_).IgnoreError();
}

absl::Status DirLayerSink::Write(absl::string_view compressed) {
  if (status_.ok() && finished_) status_ = absl::FailedPreconditionError("the layer is finished");
  if (status_.ok()) status_ = Annotate(Receive(compressed), absl::StrCat("layer ", blob_.digest));
  return status_;
}

absl::Status DirLayerSink::Receive(absl::string_view compressed) {
  received_ += compressed.size();
  if (received_ > blob_.size) {
    return absl::DataLossError(absl::StrCat("more than the promised ", blob_.size, " bytes"));
  }
  blob_hash_.Update(compressed);
  return decompressor_.Write(compressed, [this](absl::string_view bytes) { return Plain(bytes); });
}

absl::Status DirLayerSink::Plain(absl::string_view bytes) {
  plain_ += bytes.size();
  if (plain_ > limits_.max_bytes) {
    return absl::ResourceExhaustedError(absl::StrCat("unpacks to more than ", limits_.max_bytes, " bytes"));
  }
  if (plain_ > limits_.ratio_from && plain_ / limits_.max_ratio > received_) {
    return absl::ResourceExhaustedError(absl::StrCat("unpacks to ", plain_, " bytes from ", received_, ", more than ",
                                                     limits_.max_ratio, " times as many"));
  }
  diff_hash_.Update(bytes);
  return parser_.Write(bytes);
}

absl::StatusOr<LayerResult> DirLayerSink::Finish() {
  if (status_.ok() && !finished_) {
    status_ = Annotate(Complete(), absl::StrCat("layer ", blob_.digest));
    finished_ = status_.ok();
  }
  if (!status_.ok()) return status_;
  return result_;
}

absl::Status DirLayerSink::Complete() {
  // Whether the bytes are those that were promised is asked first: what else is wrong follows from it.
  if (received_ != blob_.size) {
    return absl::DataLossError(absl::StrCat("ends after ", received_, " of ", blob_.size, " bytes"));
  }
  if (std::string real = blob_hash_.Finish(); real != blob_.digest) {
    return absl::DataLossError(absl::StrCat("the digest is ", real));
  }
  RETURN_IF_ERROR(decompressor_.Finish([this](absl::string_view bytes) { return Plain(bytes); }));
  if (std::string real = diff_hash_.Finish(); real != blob_.diff_id) {
    return absl::DataLossError(absl::StrCat("the diffID is ", real, ", not ", blob_.diff_id));
  }
  RETURN_IF_ERROR(parser_.Finish());
  RETURN_IF_ERROR(applier_.Finish());
  result_.diff_id = blob_.diff_id;
  result_.blob_size = received_;
  result_.unpacked_bytes = applier_.usage().bytes;
  result_.inodes = applier_.usage().inodes;
  result_.implied_parents = applier_.ImpliedParents();
  LayerInfo info{result_.diff_id, result_.unpacked_bytes, result_.inodes, result_.implied_parents};
  return sys::ReplaceFileAt(dir_.get(), kLayerRecord, EncodeLayerRecord(info), 0600);
}

}  // namespace berth::image
