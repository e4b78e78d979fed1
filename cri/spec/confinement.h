// Which profile and which labels confine a container.
#pragma once

#include <string>

#include "runtime/base/status.h"
#include "runtime/security/apparmor.h"
#include "runtime/security/selinux.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// The AppArmor profile of a container; empty = unconfined. Not given: berth's own where the host can have it.
// FailedPrecondition naming the field when what is asked for cannot be had. Privileged containers have none.
absl::StatusOr<std::string> AppArmorProfileOf(const state::v1::Security& security, security::AppArmor& apparmor);

security::SelinuxContext ToSelinuxContext(const state::v1::SelinuxOptions& options);

// Whether a container's program gets no SELinux label of its own: a privileged one, and one that has the processes or
// the IPC of the host, with which a confined process could do nothing.
bool RunsWithoutSelinuxLabel(const state::v1::PodSpec& pod, const state::v1::Security& security);

// What a seccomp agent is told of a process, for shim.v1.Process.seccomp_agent_state: OCI runtime-spec,
// containerProcessState, as that field wants it.
std::string SeccompAgentState(const state::v1::Pod& pod, const state::v1::Container& container,
                              const std::string& metadata, bool running);

}  // namespace berth::spec
