// The parts of an http or https URL that the registry client decides by. Parsing is libcurl's, so that what is decided
// here is what is connected to later. Pure functions.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; an IPv6 address in brackets
  int port = 0;        // never 0 after parsing
  std::string path;    // with the query, starts with '/'

  std::string ToString() const;
  // "host", or "host:port" when the port is not the scheme's own.
  std::string Authority() const;
  // "host:port", always with the port.
  std::string HostAndPort() const { return absl::StrCat(host, ":", port); }
  bool SameOrigin(const Url& other) const;
  // localhost, 127.0.0.0/8 or ::1: nobody else reads what is sent there.
  bool IsLoopback() const;
  // Whether a secret may be sent: encrypted, or to this machine.
  bool IsPrivate() const { return scheme == "https" || IsLoopback(); }
};

// InvalidArgument for other schemes, user names in it, control characters, or what libcurl does not take. The fragment
// is dropped.
absl::StatusOr<Url> ParseUrl(absl::string_view text);
// `location` as a redirect gives it: absolute or relative to `base`.
absl::StatusOr<Url> ResolveUrl(const Url& base, absl::string_view location);

bool IsLoopbackHost(absl::string_view host);
// Percent-encoded for a query.
std::string EscapeQuery(absl::string_view text);

}  // namespace berth::image
