#include "image/pull/testing_image.h"

#include <random>

#include "image/content/digest.h"
#include "image/pull/manifest.h"
#include "image/unpack/testing_archive.h"
#include "runtime/base/json.h"

namespace berth::image::testing_image {
namespace {

Json DescriptorJson(absl::string_view type, absl::string_view digest, size_t size) {
  return Json{{"mediaType", std::string(type)}, {"digest", std::string(digest)}, {"size", size}};
}

}  // namespace

TestImage MakeImage(const std::vector<std::map<std::string, std::string>>& layers, absl::string_view env) {
  TestImage image;
  Json manifest{{"schemaVersion", 2}, {"mediaType", "application/vnd.oci.image.manifest.v1+json"}};
  for (const auto& files : layers) {
    std::vector<testing_archive::Entry> entries;
    for (const auto& [path, data] : files) entries.push_back(testing_archive::File(path, data));
    std::string tar = testing_archive::Tar(entries);
    std::string blob = testing_archive::Gzip(tar);
    std::string digest = Sha256Digest(blob);
    manifest["layers"].push_back(DescriptorJson("application/vnd.oci.image.layer.v1.tar+gzip", digest, blob.size()));
    image.diff_ids.push_back(Sha256Digest(tar));
    image.layers.push_back(digest);
    image.blobs[digest] = std::move(blob);
  }
  Json config{{"os", "linux"},
              {"architecture", HostPlatform().architecture},
              {"config", {{"Env", {std::string(env)}}, {"Cmd", {"/bin/true"}}}},
              {"rootfs", {{"type", "layers"}, {"diff_ids", image.diff_ids}}}};
  std::string bytes = DumpJson(config);
  image.config_digest = Sha256Digest(bytes);
  manifest["config"] = DescriptorJson("application/vnd.oci.image.config.v1+json", image.config_digest, bytes.size());
  image.blobs[image.config_digest] = std::move(bytes);
  image.manifest = DumpJson(manifest);
  image.manifest_digest = Sha256Digest(image.manifest);
  return image;
}

std::string IndexOf(const TestImage& image) {
  constexpr char kType[] = "application/vnd.oci.image.manifest.v1+json";
  Json other = DescriptorJson(kType, Sha256Digest("other"), 5),
       attestation = DescriptorJson(kType, Sha256Digest("at"), 2);
  Json mine = DescriptorJson(kType, image.manifest_digest, image.manifest.size());
  other["platform"] = {{"os", "linux"}, {"architecture", "s390"}};
  attestation["platform"] = {{"os", "unknown"}, {"architecture", "unknown"}};
  mine["platform"] = {{"os", "linux"}, {"architecture", HostPlatform().architecture}};
  return DumpJson(Json{{"schemaVersion", 2},
                       {"mediaType", "application/vnd.oci.image.index.v1+json"},
                       {"manifests", {attestation, other, mine}}});
}

std::string Noise(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

}  // namespace berth::image::testing_image
