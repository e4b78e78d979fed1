#include "image/pull/kept_blob.h"

#include <utility>

namespace berth::image {

absl::StatusOr<sys::UniqueFd> OpenKeptBlob(const LayerStore& layers, absl::string_view diff_id,
                                           const Descriptor& blob) {
  ASSIGN_OR_RETURN(KeptBlob kept, layers.OpenBlob(diff_id));
  if (kept.digest == blob.digest && kept.size == blob.size) return std::move(kept.file);
  return absl::NotFoundError(absl::StrCat("blob ", blob.digest, " was not kept"));
}

}  // namespace berth::image
