// What a client says about itself to a registry, as the image store takes it. Pure functions.
#pragma once

#include "berth/v1/berth.pb.h"
#include "cri/v1/api.pb.h"
#include "image/store.h"
#include "runtime/base/status.h"

namespace berth::service {

// InvalidArgument names a malformed field, and never what was in it.
absl::StatusOr<image::Credentials> ToCredentials(const ::runtime::v1::AuthConfig& auth);
image::Credentials ToCredentials(const ::berth::v1::RegistryAuth& auth);

}  // namespace berth::service
