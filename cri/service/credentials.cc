#include "cri/service/credentials.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace berth::service {
namespace {

// "https://index.docker.io/v1/" → "docker.io"
std::string HostOf(absl::string_view server) {
  if (size_t scheme = server.find("://"); scheme != absl::string_view::npos) server.remove_prefix(scheme + 3);
  std::string host = absl::AsciiStrToLower(server.substr(0, server.find('/')));
  return host == "index.docker.io" || host == "registry-1.docker.io" ? "docker.io" : host;
}

bool IsForServerOf(absl::string_view server, absl::string_view reference) {
  if (server.empty()) return true;
  absl::StatusOr<std::string> normal = image::NormalizeReference(reference);
  return normal.ok() && HostOf(server) == HostOf(*normal);
}

}  // namespace

absl::StatusOr<image::Credentials> ToCredentials(const ::runtime::v1::AuthConfig& auth, absl::string_view reference) {
  image::Credentials out{.username = auth.username(),
                         .password = auth.password(),
                         .identity_token = auth.identity_token(),
                         .registry_token = auth.registry_token()};
  if (out.username.empty() && !auth.auth().empty()) {
    // base64 of "user:password", padded with NULs by some clients.
    std::string decoded;
    if (!absl::Base64Unescape(auth.auth(), &decoded)) return absl::InvalidArgumentError("auth.auth: is not base64");
    size_t colon = decoded.find(':');
    if (colon == std::string::npos) return absl::InvalidArgumentError("auth.auth: is not \"user:password\"");
    out.username = decoded.substr(0, colon);
    out.password = std::string(decoded.c_str() + colon + 1);
  }
  return IsForServerOf(auth.server_address(), reference) ? out : image::Credentials();
}

image::Credentials ToCredentials(const ::berth::v1::RegistryAuth& auth, absl::string_view reference) {
  if (!IsForServerOf(auth.server_address(), reference)) return {};
  if (!auth.registry_token().empty()) return {.registry_token = auth.registry_token()};
  if (!auth.identity_token().empty()) return {.identity_token = auth.identity_token()};
  return {.username = auth.username(), .password = auth.password()};
}

}  // namespace berth::service
