// The sysctls of a pod. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// What a pod gets whose request does not say otherwise.
struct SysctlDefaults {
  bool unprivileged_ports = true;  // net.ipv4.ip_unprivileged_port_start = 0
  bool unprivileged_icmp = true;   // net.ipv4.ping_group_range = every group
};

struct Sysctl {
  std::string key;
  std::string value;
  bool optional = false;  // a default: a kernel that lacks it does not matter
};

// A key is written with dots or with slashes, and where the two meet the first one separates, as for sysctl(8):
// net.ipv4.conf.eth0/100.forwarding is net/ipv4/conf/eth0.100/forwarding. This is the form with slashes.
std::string SysctlName(absl::string_view key);

// InvalidArgument naming the key, unless it is of a namespace that the pod has of its own: net.* without the host's
// network, and of kernel.* and fs.* what an IPC namespace owns without the host's IPC. Also for a key that is no name
// or is given in both forms, and for a value that is empty or holds anything but printable ASCII.
absl::Status ValidateSysctls(const state::v1::PodSpec& pod);

// The request's, and the defaults that it does not replace. Defaults need the pod's own network, and that of ICMP the
// host's user namespace, since its range has to be mapped. `pod` is valid.
std::vector<Sysctl> PlanSysctls(const state::v1::PodSpec& pod, const SysctlDefaults& defaults);

}  // namespace berth::spec
