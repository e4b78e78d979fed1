// Which proxy a request goes through: the variables of the environment, as Go's programs read them
// (golang.org/x/net/http/httpproxy), because that is what nodes are set up for. Pure functions, but for
// ProxiesFromEnvironment.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/registry/url.h"

namespace berth::image {

struct Proxies {
  std::string http;    // a proxy's URL, maybe with a user and a password; empty: none
  std::string https;   // for requests over TLS
  std::string except;  // NO_PROXY: "*", or a list of "host", ".domain", address and CIDR, each maybe with ":port"
};

// HTTP_PROXY, HTTPS_PROXY and NO_PROXY; in lower case where the upper case is not set.
Proxies ProxiesFromEnvironment();

// The proxy for `url`, with a scheme; "" when it is asked directly. This machine never is asked through one.
std::string ProxyFor(const Proxies& proxies, const Url& url);

}  // namespace berth::image
