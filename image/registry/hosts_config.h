// Which servers to ask for an image: the hosts.toml files that nodes have for containerd (containerd's docs/hosts.md),
// and without one the registry that the reference names.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/reference/reference.h"
#include "image/registry/http_client.h"
#include "runtime/base/status.h"

namespace berth::image {

struct Endpoint {
  Url base;                // its path ends in "/v2" unless override_path says otherwise
  bool resolve = true;     // may be asked what a tag means
  bool pull = true;        // may be asked for what a digest names
  bool is_mirror = false;  // not the registry itself: gets "?ns=" and no credentials
  std::vector<std::pair<std::string, std::string>> headers;
  TlsOptions tls;
  absl::Duration dial_timeout;  // zero: the client's
};

// In order of trial, the registry itself last. DIR/HOST_PORT_/ and DIR/HOST/ are looked for in each of `dirs`, then
// DIR/_default/ in each. The first that exists decides: by its hosts.toml, or, without one, by the *.crt, *.cert and
// *.key files in it. InvalidArgument names the file and what is wrong in it.
absl::StatusOr<std::vector<Endpoint>> FindEndpoints(const Reference& reference, const std::vector<std::string>& dirs);

// The text of one hosts.toml in `dir` (relative paths are beneath it). A key or capability that nobody knows is
// refused: a misspelt one would be a setting that is silently not there. Pure.
absl::StatusOr<std::vector<Endpoint>> ParseHostsToml(absl::string_view text, const std::string& dir,
                                                     const Reference& reference);

}  // namespace berth::image
