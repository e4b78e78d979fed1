#include "image/push/blob_upload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace berth::image {
namespace {

constexpr uint64_t kLargestChunk = 64 << 20;  // that a registry may demand

const std::pair<std::string, std::string>& OctetStream() {
  static const auto* header = new std::pair<std::string, std::string>("Content-Type", "application/octet-stream");
  return *header;
}

// The bytes that "0-N" speaks of. "0-0" is what registries say of none, and no chunk has one byte.
std::optional<uint64_t> EndOfRange(absl::string_view range) {
  range = absl::StripPrefix(range, "bytes=");
  std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(range, absl::MaxSplits('-', 1));
  uint64_t last = 0;
  if (parts.first != "0" || !absl::SimpleAtoi(parts.second, &last) || last == UINT64_MAX) return std::nullopt;
  return last == 0 ? 0 : last + 1;
}

}  // namespace

BlobUpload::BlobUpload(RepositoryWriter* writer, std::function<void(uint64_t)> progress, size_t chunk)
    : writer_(writer), session_(writer->session()), progress_(std::move(progress)), chunk_(chunk) {}

BlobUpload::~BlobUpload() {
  // Where nobody answers, asking once more would only take time.
  if (!location_ || absl::IsUnavailable(status_)) return;
  session_->Send({.method = "DELETE", .url = *location_, .cancellable = false}).IgnoreError();
}

absl::Status BlobUpload::Write(absl::string_view bytes) {
  if (status_.ok()) status_ = Take(bytes);
  return status_;
}

absl::Status BlobUpload::Take(absl::string_view bytes) {
  hash_.Update(bytes);
  while (!bytes.empty()) {
    // A full chunk waits until there is more: what ends with it may be the whole blob.
    if (pending_.size() >= chunk_) RETURN_IF_ERROR(SendPending());
    size_t n = std::min(chunk_ - std::min(chunk_, pending_.size()), bytes.size());
    pending_.append(bytes.data(), n);
    bytes.remove_prefix(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<UploadedBlob> BlobUpload::Finish() {
  if (!status_.ok()) return status_;
  absl::StatusOr<UploadedBlob> blob = Complete();
  status_ = blob.status();
  return blob;
}

absl::StatusOr<UploadedBlob> BlobUpload::Complete() {
  UploadedBlob blob{.digest = hash_.Finish(), .size = acknowledged_ + pending_.size()};
  if (!location_) {
    absl::StatusOr<uint64_t> there = writer_->BlobSize(blob.digest);
    if (there.ok() && *there == blob.size) {
      blob.already_there = true;
      return blob;
    }
    if (!there.ok() && !absl::IsNotFound(there.status())) return there.status();
    RETURN_IF_ERROR(Begin());
  } else if (!pending_.empty()) {
    RETURN_IF_ERROR(SendPending());
  }
  RETURN_IF_ERROR(Close(blob.digest));
  if (progress_) progress_(blob.size);
  return blob;
}

absl::Status BlobUpload::Begin() {
  ASSIGN_OR_RETURN(auto written, writer_->SendRetrying({.method = "POST", .path = "/blobs/uploads/", .body = ""}));
  RETURN_IF_ERROR(StatusOfWrite(*session_, written.response, "a blob"));
  ASSIGN_OR_RETURN(location_, NextLocation(written));
  uint64_t least = 0;
  if (absl::SimpleAtoi(written.response.Header("oci-chunk-min-length"), &least) && least > chunk_) {
    chunk_ = static_cast<size_t>(std::min(least, kLargestChunk));
  }
  return absl::OkStatus();
}

absl::Status BlobUpload::SendPending() {
  if (!location_) {
    RETURN_IF_ERROR(Begin());
    if (pending_.size() < chunk_) return absl::OkStatus();  // the registry wants larger ones
  }
  for (int failures = 0; !pending_.empty();) {
    const uint64_t before = acknowledged_;
    absl::Status status = SendOnce();
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
    if (acknowledged_ > before) failures = 0;
    if (status.ok() && acknowledged_ > before) continue;
    const bool answered = status.ok();
    if (answered) {
      status = absl::UnavailableError(absl::StrCat("registry ", session_->endpoint().base.Authority(),
                                                   " takes no more than ", acknowledged_, " bytes"));
    }
    RETURN_IF_ERROR(writer_->PauseAfter(status, ++failures));
    if (!answered) RETURN_IF_ERROR(AskOffset());
  }
  return absl::OkStatus();
}

absl::Status BlobUpload::SendOnce() {
  const uint64_t end = acknowledged_ + pending_.size();
  RegistrySession::Write patch{.method = "PATCH", .url = location_, .body = pending_};
  patch.headers = {OctetStream(), {"Content-Range", absl::StrCat(acknowledged_, "-", end - 1)}};
  ASSIGN_OR_RETURN(auto written, session_->Send(patch));
  int code = written.response.status;
  if (code == 416 || code == 404) return AskOffset();
  RETURN_IF_ERROR(StatusOfWrite(*session_, written.response, "a blob"));
  ASSIGN_OR_RETURN(location_, NextLocation(written));
  return Acknowledge(written.response.Header("range"), end);
}

// Where the registry is, when it is not known what became of a chunk.
absl::Status BlobUpload::AskOffset() {
  ASSIGN_OR_RETURN(auto written, writer_->SendRetrying({.method = "GET", .url = location_}));
  int code = written.response.status;
  if (code >= 400 && code < 500 && code != 401 && code != 403 && !IsTransient(code)) {
    location_.reset();
    return absl::AbortedError(absl::StrCat("registry ", written.url.Authority(), " lost the upload"));
  }
  RETURN_IF_ERROR(StatusOfWrite(*session_, written.response, "a blob"));
  if (!written.response.Header("location").empty()) {
    ASSIGN_OR_RETURN(location_, NextLocation(written));
  }
  return Acknowledge(written.response.Header("range"), acknowledged_);
}

absl::Status BlobUpload::Acknowledge(absl::string_view range, uint64_t otherwise) {
  uint64_t end = range.empty() ? otherwise : EndOfRange(range).value_or(UINT64_MAX);
  if (end < acknowledged_ || end > acknowledged_ + pending_.size()) {
    return absl::AbortedError(absl::StrCat("registry ", session_->endpoint().base.Authority(), " has '",
                                           absl::CHexEscape(range.substr(0, 100)), "' of an upload that is between ",
                                           acknowledged_, " and ", acknowledged_ + pending_.size()));
  }
  pending_.erase(0, end - acknowledged_);
  acknowledged_ = end;
  if (progress_) progress_(acknowledged_);
  return absl::OkStatus();
}

absl::Status BlobUpload::Close(absl::string_view digest) {
  Url url = *location_;
  absl::StrAppend(&url.path, absl::StrContains(url.path, "?") ? "&" : "?", "digest=", EscapeQuery(digest));
  RegistrySession::Write put{.method = "PUT", .url = url, .headers = {OctetStream()}, .body = pending_};
  absl::StatusOr<RegistrySession::Written> written = session_->Send(put);
  absl::Status status = written.status();
  if (written.ok()) status = StatusOfWrite(*session_, written->response, absl::StrCat("blob ", digest));
  if (absl::IsUnavailable(status)) {
    // It may have been done all the same.
    RETURN_IF_ERROR(writer_->PauseAfter(status, 1));
    if (writer_->BlobSize(digest).ok()) {
      location_.reset();
      return absl::OkStatus();
    }
    return absl::AbortedError(
        absl::StrCat("registry ", session_->endpoint().base.Authority(), " did not finish the upload of ", digest));
  }
  RETURN_IF_ERROR(status);
  location_.reset();
  return absl::OkStatus();
}

}  // namespace berth::image
