#include "image/disk_store.h"
#include "image/pull/image_config.h"

namespace berth::image {

void DiskStore::Healed(absl::string_view what) const {
  if (options_.healed) options_.healed(what);
}

absl::Status DiskStore::Recover() {
  for (const std::string& problem : layers_->Problems()) Healed(problem);
  RETURN_IF_ERROR(catalog_->ListImages());  // finds what is damaged
  for (const std::string& problem : catalog_->Problems()) Healed(problem);
  RETURN_IF_ERROR(RecoverDocuments());
  RETURN_IF_ERROR(DropBrokenImages());
  return RefreshPins();
}

absl::Status DiskStore::DropBrokenImages() {
  ASSIGN_OR_RETURN(std::vector<ImageRow> rows, catalog_->ListImages());
  for (const ImageRow& row : rows) RETURN_IF_ERROR(RecoverImage(row));
  return absl::OkStatus();
}

absl::Status DiskStore::RecoverImage(const ImageRow& row) {
  std::string why;
  if (absl::Status config = ParseImageConfig(row.config).status(); !config.ok()) why = std::string(config.message());
  for (const std::string& layer : row.layers) {
    if (!layers_->Has(layer)) why = absl::StrCat("layer ", layer, " is not there");
  }
  if (why.empty()) return absl::OkStatus();
  // A pull may have brought its layers in between.
  ASSIGN_OR_RETURN(bool removed, catalog_->RemoveImageAsOf(row));
  if (!removed) return absl::OkStatus();
  const std::string name = row.tags.empty() ? "" : absl::StrCat(" (", row.tags[0], ")");
  Healed(absl::StrCat("image ", row.id.str(), name, " is dropped, to be pulled again: ", why));
  return absl::OkStatus();
}

absl::Status DiskStore::RecoverDocuments() {
  for (const std::string& digest : content_->List()) {
    absl::Status sound = content_->Get(digest).status();
    if (!absl::IsDataLoss(sound)) continue;
    RETURN_IF_ERROR(content_->Remove(digest));
    Healed(absl::StrCat("document ", digest, " is removed: ", sound.message()));
  }
  return absl::OkStatus();
}

bool DiskStore::IsPinned(const ImageRow& row) const {
  for (const auto* references : {&row.tags, &row.digests}) {
    for (const std::string& reference : *references) {
      if (parts_.pinned.count(reference) > 0) return true;
    }
  }
  return false;
}

absl::Status DiskStore::RefreshPins() {
  ASSIGN_OR_RETURN(std::vector<ImageRow> rows, catalog_->ListImages());
  for (const ImageRow& row : rows) {
    if (IsPinned(row) == row.pinned) continue;
    absl::Status set = catalog_->SetPinned(row.id, !row.pinned);
    if (!absl::IsNotFound(set)) RETURN_IF_ERROR(set);  // removed meanwhile
  }
  return absl::OkStatus();
}

}  // namespace berth::image
