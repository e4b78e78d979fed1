// Images out of an archive into the store: all of them, or on an error none; those that were recorded before the store
// itself failed (a full disk) stay.
#pragma once

#include <string>
#include <vector>

#include "image/catalog/catalog.h"
#include "image/pull/puller.h"
#include "image/store.h"

namespace berth::image {

// `staging` is a directory on the store's file system where the archive is kept meanwhile, without a name. Errors as
// Store::Load has them. Blocking; any number at once.
absl::StatusOr<std::vector<ImageRow>> LoadImages(const PullParts& parts, const std::string& staging,
                                                 const LoadRequest& request);

}  // namespace berth::image
