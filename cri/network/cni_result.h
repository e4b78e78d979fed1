// What plugins answer: results of every version and errors (CNI specification, section 5). Pure.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "cri/network/network.h"
#include "runtime/base/json.h"
#include "runtime/sys/spawn.h"

namespace berth::network {

// The pod's addresses in the plugin's order: "ips" (0.3.0 and later), "ip4" and "ip6" (before). Addresses that belong
// to an interface outside of the pod (the bridge's) are left out. InvalidArgument for a result of another shape, of a
// version that we do not know, or with an address that is none.
absl::StatusOr<PodAddresses> AddressesOf(const Json& result);

// OK for exit code 0. Otherwise "CNI plugin TYPE failed (COMMAND): msg; details" from the error document on stdout, or,
// when there is none, the exit code or signal and the end of stderr; each at most 1 KiB of it. Unavailable for the
// codes that ask to try again later (11, 50, 51), Internal for all others.
absl::Status PluginStatus(absl::string_view type, absl::string_view command, const sys::SpawnResult& result);

}  // namespace berth::network
