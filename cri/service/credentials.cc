#include "cri/service/credentials.h"

#include "absl/strings/escaping.h"

namespace berth::service {
absl::StatusOr<image::Credentials> ToCredentials(const ::runtime::v1::AuthConfig& auth) {
  image::Credentials out{.username = auth.username(),
                         .password = auth.password(),
                         .identity_token = auth.identity_token(),
                         .registry_token = auth.registry_token(),
                         .server_address = auth.server_address()};
  if (out.username.empty() && !auth.auth().empty()) {
    // base64 of "user:password", padded with NULs by some clients.
    std::string decoded;
    if (!absl::Base64Unescape(auth.auth(), &decoded)) return absl::InvalidArgumentError("auth.auth: is not base64");
    size_t colon = decoded.find(':');
    if (colon == std::string::npos) return absl::InvalidArgumentError("auth.auth: is not \"user:password\"");
    out.username = decoded.substr(0, colon);
    out.password = std::string(decoded.c_str() + colon + 1);
  }
  return out;
}

image::Credentials ToCredentials(const ::berth::v1::RegistryAuth& auth) {
  image::Credentials out{.server_address = auth.server_address()};
  if (!auth.registry_token().empty()) {
    out.registry_token = auth.registry_token();
  } else if (!auth.identity_token().empty()) {
    out.identity_token = auth.identity_token();
  } else {
    out.username = auth.username();
    out.password = auth.password();
  }
  return out;
}

}  // namespace berth::service
