// Image references by the grammar of the distribution project (distribution/reference), with its defaults: no host
// means docker.io, no folder there means library, neither tag nor digest means latest. Pure functions.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

struct Reference {
  std::string host;    // as the name carries it: "docker.io", "localhost:5000", "[::1]:5000"
  std::string path;    // "library/busybox"
  std::string tag;     // empty when there is a digest
  std::string digest;  // "sha256:…" or "sha512:…"; empty when there is a tag

  // "host/path"
  std::string Name() const;
  // "host/path:tag" or "host/path@digest": the form that the catalogue knows.
  std::string Normal() const;
  // What stands in a manifest's URL: the digest if there is one, else the tag.
  const std::string& Selector() const { return digest.empty() ? tag : digest; }
};

// InvalidArgument names what is wrong. With both tag and digest the digest counts and the tag is dropped (after it was
// checked). index.docker.io is docker.io. A bare id of 64 hexadecimal digits is no reference.
absl::StatusOr<Reference> ParseReference(absl::string_view text);

// Where docker.io really answers; any other host is its own endpoint.
std::string EndpointHost(const Reference& reference);

// Whether `server_address`, as clients write it beside credentials ("https://index.docker.io/v1/", "reg.io:5000"),
// means the reference's registry. "" does.
bool IsRegistryOf(const Reference& reference, absl::string_view server_address);

}  // namespace berth::image
