// Manifests and indexes as registries give them (OCI image-spec manifest.md and image-index.md, Docker's schema 2) and
// the choice among platforms. Pure functions, but for HostPlatform.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

struct Platform {
  std::string os;            // "linux"
  std::string architecture;  // as Go names it: "amd64", "arm64"
  std::string variant;       // "v7", or empty
};

struct Descriptor {
  std::string media_type;
  std::string digest;  // well-formed
  uint64_t size = 0;
  std::string title;  // annotation org.opencontainers.image.title, not checked; may be empty
};

struct Manifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // bottom first
  // Of an OCI artifact: its artifactType, or else its config's media type. Empty for a container image.
  std::string artifact_type;
};

struct IndexEntry {
  Descriptor manifest;
  Platform platform;  // all empty when the index does not say
};

struct Index {
  std::vector<IndexEntry> entries;
};

// InvalidArgument: not a document of those kinds, both kinds at once, a type other than the one it was sent as
// (`content_type`, may be empty), schema 1, in a container image a layer of a kind that no container is made from,
// malformed digests or sizes. Layers that one may not hand on ("foreign", "nondistributable") are layers like any
// other: it is for the registry to have them. The `urls` of a descriptor are never followed.
absl::StatusOr<std::variant<Manifest, Index>> ParseManifest(absl::string_view bytes, absl::string_view content_type);

// Whether layers of that type are archives which are unpacked.
bool IsArchiveType(absl::string_view media_type);

// The platform of a node: `machine` as uname(2) says it, `cpuinfo` the text of /proc/cpuinfo. Pure.
Platform PlatformOf(absl::string_view machine, absl::string_view cpuinfo);
// Of this machine.
const Platform& HostPlatform();

// Whether a node of `host` runs what is built for `image`: its own variant, the lower ones (amd64 v4 to v1, arm v8 to
// v5), or one that the image does not say.
bool Runs(const Platform& host, const Platform& image);

// The entry that suits `host` best, the nearest variant first; the first of equals. Attestations and other systems are
// passed over. NotFound, with the platforms that there are, when none suits.
absl::StatusOr<Descriptor> ChooseManifest(const Index& index, const Platform& host);

}  // namespace berth::image
