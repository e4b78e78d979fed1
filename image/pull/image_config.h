// An image's config document (OCI image-spec config.md; Docker's is the same in what is read here). Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/pull/manifest.h"
#include "image/store.h"
#include "runtime/base/status.h"

namespace berth::image {

// Where ArtifactConfig (artifact.h) puts the artifact's type.
constexpr char kArtifactTypeKey[] = "dev.berth.artifactType";

struct ConfigDocument {
  ImageConfig config;
  Platform platform;                  // parts that it does not say are empty
  std::vector<std::string> diff_ids;  // well-formed, bottom first
};

// InvalidArgument names the field.
absl::StatusOr<ConfigDocument> ParseImageConfig(absl::string_view bytes);

// InvalidArgument unless the config describes as many layers as the manifest has. NotFound when it is for a platform
// that `host` does not run.
absl::Status CheckConfig(const ConfigDocument& config, const Manifest& manifest, const Platform& host);

}  // namespace berth::image
