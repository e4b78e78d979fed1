// OCI artifacts: manifests of files that are no container's root file system, fit for image volumes (KEP-4639). Pure
// functions.
#pragma once

#include <string>
#include <vector>

#include "image/pull/layer_fetch.h"
#include "image/pull/manifest.h"
#include "runtime/base/status.h"

namespace berth::image {

// The layers of an artifact, bottom first: an archive of one of the types that images have is unpacked, any other blob
// is a file with the name of its title, or without one with the digits of its digest. A blob that occurs twice under
// one name is there once. InvalidArgument: a title that is no path beneath a directory, two files that are in each
// other's way, no layers or too many for a mount.
absl::StatusOr<std::vector<WantedLayer>> ArtifactLayers(const Manifest& manifest);

// What stands in the catalogue in the place of a config: ParseImageConfig reads it.
std::string ArtifactConfig(const Manifest& manifest, const std::vector<std::string>& diff_ids);

}  // namespace berth::image
