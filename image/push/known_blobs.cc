#include "image/push/known_blobs.h"

#include <fcntl.h>

#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "image/content/digest.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

std::string FileName(absl::string_view diff_id, Compression compression) {
  return absl::StrCat(DigestHex(diff_id), ".", CompressionName(compression));
}

}  // namespace

absl::StatusOr<std::unique_ptr<KnownBlobs>> KnownBlobs::Open(absl::string_view root,
                                                             const std::vector<std::string>& layers) {
  std::string path = absl::StrCat(root, "/known-blobs");
  RETURN_IF_ERROR(sys::MakeDirs(path, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(path, O_RDONLY | O_DIRECTORY));
  std::set<std::string> wanted;
  for (const std::string& layer : layers) {
    for (Compression compression : {Compression::kGzip, Compression::kZstd})
      wanted.insert(FileName(layer, compression));
  }
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir.get()));
  for (const std::string& name : names) {
    if (wanted.count(name) == 0) RETURN_IF_ERROR(sys::RemoveTreeAt(dir.get(), name));
  }
  return std::unique_ptr<KnownBlobs>(new KnownBlobs(std::move(dir)));
}

std::optional<UploadedBlob> KnownBlobs::Find(absl::string_view diff_id, Compression compression) const {
  auto text = sys::ReadFileAt(dir_.get(), FileName(diff_id, compression), 4096);
  if (!text.ok()) return std::nullopt;
  std::pair<std::string, std::string> parts = absl::StrSplit(*text, absl::MaxSplits(' ', 1));
  UploadedBlob blob{.digest = parts.first};
  if (!CheckDigest(blob.digest).ok() || !absl::SimpleAtoi(parts.second, &blob.size)) return std::nullopt;
  return blob;
}

absl::Status KnownBlobs::Remember(absl::string_view diff_id, Compression compression, const UploadedBlob& blob) {
  return sys::ReplaceFileAt(dir_.get(), FileName(diff_id, compression), absl::StrCat(blob.digest, " ", blob.size),
                            0600);
}

}  // namespace berth::image
