// A manifest whose layers are kept in another compression than it says. A pure function.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

// What takes the place of a layer's descriptor.
struct LayerReplacement {
  std::string digest;
  uint64_t size = 0;
  std::string suffix;  // of the OCI media type: "", "+gzip" or "+zstd"
};

struct ManifestBytes {
  std::string bytes;
  std::string media_type;
  std::string digest;
};

// `layers` has one for each of the manifest, absent where the layer stays as it is; with none changed the bytes are
// `original`. Annotations, of the whole and of each layer, stay, but for those that describe the inside of a replaced
// blob. Docker's kind stays Docker's, unless a layer is zstd, which that kind does not have: then it becomes OCI's.
// InvalidArgument when `original` is no manifest or has another number of layers.
absl::StatusOr<ManifestBytes> RewriteManifest(absl::string_view original,
                                              const std::vector<std::optional<LayerReplacement>>& layers);

// A manifest for an image that came without one.
ManifestBytes MakeManifest(absl::string_view config_digest, uint64_t config_size,
                           const std::vector<LayerReplacement>& layers);

}  // namespace berth::image
