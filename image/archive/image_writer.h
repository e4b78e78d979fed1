// Images as one archive: an OCI layout (image-spec, image-layout.md) or what docker save writes, as tar.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "image/catalog/catalog.h"
#include "image/pull/puller.h"
#include "image/store.h"

namespace berth::image {

struct SavedImage {
  ImageRow row;
  std::vector<std::string> names;  // normalised tags that it gets in the archive
};

// The layers and documents of `images` must be on lease. The archive is a function of what is in it: members sorted,
// no times. FailedPrecondition, before any output: a layer's archive was not kept. DataLoss: what is in the store is
// damaged. An error of `output` ends it and is returned as it is.
absl::Status WriteImages(const PullParts& parts, const std::vector<SavedImage>& images, ArchiveFormat format,
                         const std::function<absl::Status(absl::string_view)>& output);

}  // namespace berth::image
