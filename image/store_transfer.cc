// What goes out of the store, and what comes in by another way than a pull.
#include <algorithm>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "image/archive/image_writer.h"
#include "image/archive/loader.h"
#include "image/disk_store.h"
#include "image/push/pusher.h"

namespace berth::image {

absl::StatusOr<PushResult> DiskStore::Push(const PushRequest& request) {
  LayerLeases::Lease lease;
  ASSIGN_OR_RETURN(ImageRow row, FindAndHold(request.image, lease));
  ASSIGN_OR_RETURN(Reference destination, PushDestination(request, row));
  absl::StatusOr<PushResult> result =
      PushImage({.store = &parts_, .known = known_blobs_.get()}, row, destination, request);
  RETURN_IF_ERROR(result, destination.Normal());
  return result;
}

// An image that is named by a tag gets that tag in the archive; by an id or a digest, none.
absl::Status DiskStore::Save(const SaveRequest& request) {
  if (request.images.empty()) return absl::InvalidArgumentError("no image to save is named");
  std::vector<LayerLeases::Lease> leases(request.images.size());
  std::vector<SavedImage> images;
  for (size_t i = 0; i < request.images.size(); ++i) {
    ASSIGN_OR_RETURN(ImageRow row, FindAndHold(request.images[i], leases[i]));
    auto image = std::find_if(images.begin(), images.end(), [&](const SavedImage& o) { return o.row.id == row.id; });
    if (image == images.end()) image = images.insert(images.end(), {.row = row});
    auto name = NormalizeReference(request.images[i]);
    if (name.ok() && absl::c_linear_search(row.tags, *name) && !absl::c_linear_search(image->names, *name)) {
      image->names.push_back(*std::move(name));
    }
  }
  return WriteImages(parts_, images, request.format, request.output);
}

absl::StatusOr<std::vector<Image>> DiskStore::Load(const LoadRequest& request) {
  auto rows = LoadImages(parts_, absl::StrCat(options_.root, "/staging"), request);
  if (absl::IsUnimplemented(rows.status())) return absl::InvalidArgumentError(rows.status().message());
  RETURN_IF_ERROR(rows);
  RETURN_IF_ERROR(RefreshPins());
  std::vector<Image> images;
  for (const ImageRow& row : *rows) {
    ASSIGN_OR_RETURN(Image image, ToImage(row));
    images.push_back(std::move(image));
  }
  return images;
}

absl::StatusOr<ImageRow> DiskStore::FindAndHold(absl::string_view reference_or_id, LayerLeases::Lease& lease) {
  ASSIGN_OR_RETURN(ImageRow row, FindRow(reference_or_id));
  std::vector<std::string> held = row.layers;
  held.push_back(row.manifest_digest);
  held.push_back(row.id.str());
  lease = leases_.Hold(std::move(held));
  // Removed between the look-up and the hold, they may be gone.
  RETURN_IF_ERROR(catalog_->LayersOf(row.id));
  return row;
}

}  // namespace berth::image
