// What a shim does once, before it serves: its pod's namespaces, their settings, and the built-in init.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::shim {

// The path beneath /proc of a sysctl, "sys/net/ipv4/ip_forward" for "net.ipv4.ip_forward". As in sysctl.d(5), the
// first separator decides: after a '/', dots are part of names. InvalidArgument for a key with other characters than
// letters, digits and "._-/", and for one that does not belong to a namespace that the pod has of its own: it would
// be the host's.
absl::StatusOr<std::string> SysctlPath(absl::string_view key, const v1::SandboxPlan& plan);

// Enters the cgroup (v1), makes the namespaces, sets hostname, loopback and sysctls. `procfs` is of the host's pid
// namespace, `userns` the pod's user namespace, which is to own the others; -1 = the host's. Errors name what failed.
absl::Status SetUpPod(const v1::SandboxPlan& plan, absl::Span<const int> fds, int procfs, int userns);

struct PodInit {
  pid_t pid = 0;
  sys::UniqueFd pidfd;
};
// Starts the first process of a new pid namespace: it reaps what is left to it, and exits on SIGTERM and SIGINT.
// `userns` as above.
absl::StatusOr<PodInit> StartPodInit(int userns);

}  // namespace berth::shim
