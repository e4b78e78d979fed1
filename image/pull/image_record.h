// The last step of a pull or a load: an image whose layers are in the store gets its documents and its row.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "image/pull/puller.h"

namespace berth::image {

struct NewImage {
  std::string id;  // the digest of the config; of an artifact, that of the manifest
  std::string manifest_digest;
  std::string manifest_bytes;
  std::string config;  // the document
  std::vector<std::string> diff_ids;
  std::vector<std::string> tags;     // normalised
  std::vector<std::string> digests;  // normalised
};

// Its layers and documents must be on lease, the layers committed. After OK it survives a power cut. An image that is
// here already gets the names besides those that it has, and stays pinned when it was. DataLoss when a document has
// another digest. Cancelled when `cancelled` (may be empty) says so before the row is written.
absl::StatusOr<ImageRow> RecordImage(const PullParts& parts, NewImage image, const std::function<bool()>& cancelled);

}  // namespace berth::image
