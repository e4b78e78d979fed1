#include "image/pull/manifest_rewrite.h"

#include <algorithm>
#include <map>

#include "absl/strings/match.h"
#include "image/content/digest.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr char kOciManifest[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";
constexpr char kOciConfig[] = "application/vnd.oci.image.config.v1+json";
constexpr char kDockerConfig[] = "application/vnd.docker.container.image.v1+json";
constexpr char kOciLayer[] = "application/vnd.oci.image.layer.v1.tar";
constexpr char kDockerLayer[] = "application/vnd.docker.image.rootfs.diff.tar";

// Annotations of eStargz and zstd:chunked say where in the blob its table of contents is.
bool DescribesInside(absl::string_view annotation) {
  return absl::StartsWith(annotation, "io.github.containers.zstd-chunked.") ||
         absl::StartsWith(annotation, "containerd.io/snapshot/stargz/") ||
         absl::StartsWith(annotation, "io.containers.estargz.");
}

void DropInsideAnnotations(Json& layer) {
  auto annotations = layer.find("annotations");
  if (annotations == layer.end() || !annotations->is_object()) return;
  for (auto it = annotations->begin(); it != annotations->end();) {
    it = DescribesInside(it.key()) ? annotations->erase(it) : std::next(it);
  }
  if (annotations->empty()) layer.erase(annotations);
}

std::string LayerType(bool docker, absl::string_view suffix) {
  if (!docker) return absl::StrCat(kOciLayer, suffix);
  return suffix.empty() ? kDockerLayer : absl::StrCat(kDockerLayer, ".", suffix.substr(1));
}

void MakeOci(Json& manifest) {
  manifest["config"]["mediaType"] = kOciConfig;
  for (Json& layer : manifest["layers"]) {
    std::string type = StringField(layer, "mediaType").value_or("");
    if (!absl::StartsWith(type, kDockerLayer)) continue;
    std::string rest = type.substr(sizeof(kDockerLayer) - 1);
    layer["mediaType"] = absl::StrCat(kOciLayer, rest.empty() ? "" : "+", rest.empty() ? "" : rest.substr(1));
  }
}

void Replace(Json& layer, const LayerReplacement& replacement, bool docker) {
  layer["digest"] = replacement.digest;
  layer["size"] = replacement.size;
  layer["mediaType"] = LayerType(docker, replacement.suffix);
  DropInsideAnnotations(layer);
}

ManifestBytes Packed(Json manifest, absl::string_view media_type) {
  manifest["mediaType"] = std::string(media_type);
  ManifestBytes out{.bytes = DumpJson(manifest), .media_type = std::string(media_type)};
  out.digest = Sha256Digest(out.bytes);
  return out;
}

}  // namespace

absl::StatusOr<ManifestBytes> RewriteManifest(absl::string_view original,
                                              const std::vector<std::optional<LayerReplacement>>& layers) {
  ASSIGN_OR_RETURN(Json manifest, ParseJson(original));
  if (!manifest.is_object() || !manifest["config"].is_object() || !manifest["layers"].is_array() ||
      manifest["layers"].size() != layers.size()) {
    return absl::InvalidArgumentError("not a manifest with the layers of the image");
  }
  ASSIGN_OR_RETURN(std::string config_type, StringField(manifest["config"], "mediaType"));
  bool docker = config_type == kDockerConfig;
  bool changed = false, zstd = false;
  for (const auto& layer : layers) {
    changed = changed || layer.has_value();
    zstd = zstd || (layer && layer->suffix == "+zstd");
  }
  if (!changed) {
    ASSIGN_OR_RETURN(std::string type, StringField(manifest, "mediaType", docker ? kDockerManifest : kOciManifest));
    return ManifestBytes{std::string(original), std::move(type), Sha256Digest(original)};
  }
  if (docker && zstd) {
    MakeOci(manifest);
    docker = false;
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i]) Replace(manifest["layers"][i], *layers[i], docker);
  }
  return Packed(std::move(manifest), docker ? kDockerManifest : kOciManifest);
}

ManifestBytes MakeManifest(absl::string_view config_digest, uint64_t config_size,
                           const std::vector<LayerReplacement>& layers) {
  Json manifest{{"schemaVersion", 2},
                {"config", {{"mediaType", kOciConfig}, {"digest", std::string(config_digest)}, {"size", config_size}}},
                {"layers", Json::array()}};
  for (const LayerReplacement& layer : layers) {
    Json descriptor;
    Replace(descriptor, layer, /*docker=*/false);
    manifest["layers"].push_back(std::move(descriptor));
  }
  return Packed(std::move(manifest), kOciManifest);
}

}  // namespace berth::image
