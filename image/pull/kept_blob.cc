#include "image/pull/kept_blob.h"

namespace berth::image {

absl::StatusOr<sys::UniqueFd> OpenKeptBlob(const LayerStore&, absl::string_view, const Descriptor& blob) {
  return absl::NotFoundError(absl::StrCat("blob ", blob.digest, " was not kept"));
}

}  // namespace berth::image
