// What a client says about itself to a registry, as the image store takes it. Pure functions.
#pragma once

#include "absl/strings/string_view.h"
#include "berth/v1/berth.pb.h"
#include "cri/v1/api.pb.h"
#include "image/store.h"
#include "runtime/base/status.h"

namespace berth::service {

// For a transfer of the image `reference`. Credentials for the server of another image are left out, as for a client
// that gave none; a server is named by host, with or without scheme and path. InvalidArgument names a malformed field,
// and never what was in it.
absl::StatusOr<image::Credentials> ToCredentials(const ::runtime::v1::AuthConfig& auth, absl::string_view reference);
image::Credentials ToCredentials(const ::berth::v1::RegistryAuth& auth, absl::string_view reference);

}  // namespace berth::service
