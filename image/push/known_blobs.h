// What a layer's archive became when it was compressed here, or was when it was pulled: so that a second push can ask
// for the blob by name instead of making it again. A hint: only the registry knows what it has.
// Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/push/blob_upload.h"
#include "image/push/compressor.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

class KnownBlobs {
 public:
  // ROOT/known-blobs/<hex of diffID>.<compression>: "DIGEST SIZE". Removes the files of layers that are not among
  // `layers` (diffIDs).
  static absl::StatusOr<std::unique_ptr<KnownBlobs>> Open(absl::string_view root,
                                                          const std::vector<std::string>& layers);

  // Absent when nothing readable is known.
  std::optional<UploadedBlob> Find(absl::string_view diff_id, Compression compression) const;
  // Not synced: after a power cut it may be forgotten.
  absl::Status Remember(absl::string_view diff_id, Compression compression, const UploadedBlob& blob);

 private:
  explicit KnownBlobs(sys::UniqueFd dir) : dir_(std::move(dir)) {}
  sys::UniqueFd dir_;
};

}  // namespace berth::image
