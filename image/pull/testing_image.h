// Images for tests: layers, config, manifest and index as a registry would hold them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth::image::testing_image {

struct TestImage {
  std::map<std::string, std::string> blobs;  // by digest: layers and config
  std::vector<std::string> layers;           // digests of the compressed layers
  std::vector<std::string> diff_ids;
  std::string config_digest;
  std::string manifest;  // OCI, for this machine's platform
  std::string manifest_digest;
};

// Each layer is the files of a map, path to content, gzipped.
TestImage MakeImage(const std::vector<std::map<std::string, std::string>>& layers, absl::string_view env = "WHO=berth");

// An index of the manifest for this platform, with one for another and an attestation in front of it.
std::string IndexOf(const TestImage& image);

// Bytes that do not compress, the same for the same seed.
std::string Noise(size_t size, unsigned seed);

}  // namespace berth::image::testing_image
