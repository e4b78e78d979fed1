// Capability sets from names: daemon's side. Pure but for ClipToKernel. A set is a mask of 1 <<
// CAP_*.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/base/status.h"

namespace berth::security {

struct CapabilityRequest {
  bool privileged = false;  // everything; the lists are ignored
  std::vector<std::string> add;
  std::vector<std::string> drop;
  std::vector<std::string> add_ambient;
};

struct CapabilitySets {
  uint64_t bounding = 0;
  uint64_t permitted = 0;
  uint64_t effective = 0;
  uint64_t inheritable = 0;  // what ambient needs and nothing more (CVE-2022-24769)
  uint64_t ambient = 0;
};

// What a container has when nothing is asked: chown, dac_override, fsetid, fowner, mknod, net_raw,
// setgid, setuid, setfcap, setpcap, net_bind_service, sys_chroot, kill, audit_write.
extern const uint64_t kDefaultCapabilities;

// Everything that libcap knows by name.
uint64_t AllCapabilities();

// What this process can give away: its bounding and permitted set. Read once by the caller.
absl::StatusOr<uint64_t> AvailableCapabilities();

// "NET_ADMIN", "cap_net_admin", …: its bit. InvalidArgument naming it when unknown. "ALL" is not a
// capability here.
absl::StatusOr<uint64_t> ParseCapability(absl::string_view name);

// The default set; then ALL of `add` and ALL of `drop`; then the single names of `add`; then those
// of `drop`. An ambient name is added to all sets. The result is clipped to `available`, silently:
// a container that asks for more than the node has gets what there is. InvalidArgument for an
// unknown name.
absl::StatusOr<CapabilitySets> ResolveCapabilities(const CapabilityRequest& request, uint64_t available);

}  // namespace berth::security
