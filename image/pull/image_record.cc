#include "image/pull/image_record.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"

namespace berth::image {

absl::StatusOr<ImageRow> RecordImage(const PullParts& parts, NewImage image, const std::function<bool()>& cancelled) {
  RETURN_IF_ERROR(parts.content->Put(image.manifest_digest, image.manifest_bytes));
  // An artifact's is not a document of the registry's.
  if (image.id != image.manifest_digest) RETURN_IF_ERROR(parts.content->Put(image.id, image.config));
  ImageRow row;
  row.id = ImageId(image.id);
  row.manifest_digest = std::move(image.manifest_digest);
  row.pulled_at = absl::Now();
  row.config = std::move(image.config);
  row.layers = std::move(image.diff_ids);
  row.tags = std::move(image.tags);
  row.digests = std::move(image.digests);
  for (const std::string& layer : row.layers) {
    ASSIGN_OR_RETURN(LayerInfo info, parts.layers->Info(layer));
    row.size += info.bytes;
  }
  row.size = std::max<uint64_t>(row.size, 1);
  for (const auto* names : {&row.tags, &row.digests}) {
    for (const std::string& name : *names) row.pinned |= parts.pinned.count(name) > 0;
  }
  if (auto before = parts.catalog->FindById(row.id.str()); before.ok()) row.pinned |= before->pinned;
  if (cancelled && cancelled()) return absl::CancelledError("the call was cancelled");
  RETURN_IF_ERROR(parts.catalog->PutImage(row));
  absl::StatusOr<ImageRow> with_all_names = parts.catalog->FindById(row.id.str());
  // Who removes it in this moment does so after it was complete.
  if (absl::IsNotFound(with_all_names.status())) return row;
  return with_all_names;
}

}  // namespace berth::image
