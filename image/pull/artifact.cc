#include "image/pull/artifact.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "image/content/digest.h"
#include "image/pull/image_config.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

constexpr size_t kMostLayers = 400;  // the kernel mounts no more than 500 directories over each other
constexpr size_t kLongestTitle = 1024;
constexpr size_t kLongestPart = 255;

absl::Status BadTitle(absl::string_view title, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("layer title '", absl::CHexEscape(title.substr(0, kLongestPart)), "' ", why));
}

absl::Status CheckTitle(absl::string_view title) {
  if (title.size() > kLongestTitle) return BadTitle(title, absl::StrCat("is longer than ", kLongestTitle, " bytes"));
  if (std::any_of(title.begin(), title.end(), absl::ascii_iscntrl)) return BadTitle(title, "has control characters");
  for (absl::string_view part : absl::StrSplit(title, '/')) {
    if (part.empty() || part == "." || part == "..") return BadTitle(title, "is not a relative path without '..'");
    if (part.size() > kLongestPart) return BadTitle(title, "has a part that is longer than 255 bytes");
    // In an archive such a name would take away what is beneath.
    if (absl::StartsWith(part, ".wh.")) return BadTitle(title, "means the removal of a file in a layer");
  }
  return absl::OkStatus();
}

// Whether a file stands where another needs a directory.
absl::Status CheckNoneInTheWay(const std::map<std::string, std::string>& files) {
  for (const auto& [path, unused] : files) {
    for (size_t slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      if (files.count(path.substr(0, slash)) > 0) return BadTitle(path, "lies beneath another layer's file");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<WantedLayer>> ArtifactLayers(const Manifest& manifest) {
  if (manifest.layers.size() > kMostLayers) {
    return absl::InvalidArgumentError(
        absl::StrCat("the artifact has ", manifest.layers.size(), " layers, more than ", kMostLayers));
  }
  std::vector<WantedLayer> out;
  std::map<std::string, std::string> files;  // path to digest
  for (const Descriptor& layer : manifest.layers) {
    WantedLayer wanted{.blob = {.digest = layer.digest, .size = layer.size}};
    if (!IsArchiveType(layer.media_type)) {
      wanted.file = layer.title.empty() ? std::string(DigestHex(layer.digest)) : layer.title;
      RETURN_IF_ERROR(CheckTitle(wanted.file));
      auto [known, is_new] = files.emplace(wanted.file, layer.digest);
      if (!is_new && known->second == layer.digest) continue;
      if (!is_new) return BadTitle(wanted.file, "is that of two layers");
    }
    out.push_back(std::move(wanted));
  }
  RETURN_IF_ERROR(CheckNoneInTheWay(files));
  return out;
}

std::string ArtifactConfig(const Manifest& manifest, const std::vector<std::string>& diff_ids) {
  return DumpJson(
      Json{{kArtifactTypeKey, manifest.artifact_type}, {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}});
}

}  // namespace berth::image
