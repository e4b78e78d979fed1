// What a request may not say. Pure functions; InvalidArgument names the field as CRI spells it.
#pragma once

#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

absl::Status ValidatePod(const state::v1::PodSpec& spec);

// `pod` is the sandbox it is to run in (for the privileged gate and the namespaces).
absl::Status ValidateContainer(const state::v1::ContainerSpec& spec, const state::v1::PodSpec& pod);

// Of a sandbox, where no process has it: the ids and profiles that would be wrong for a container are wrong here.
absl::Status ValidateSandboxSecurity(const state::v1::Security& security);

}  // namespace berth::spec
