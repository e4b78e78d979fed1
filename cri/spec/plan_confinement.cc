// What confines the processes of a plan beyond namespaces, ids and capabilities: seccomp, AppArmor, SELinux.
#include "cri/spec/confinement.h"
#include "cri/spec/launch_plan.h"
#include "runtime/sys/unix_socket.h"

namespace berth::spec {

using state::v1::SeccompProfile;
using state::v1::Security;

absl::Status LaunchPlanner::AddSeccomp(const state::v1::Pod& pod, const state::v1::Container& container,
                                       shim::v1::Process& process, PlanFds& fds) {
  const Security& s = container.spec().security();
  process.set_seccomp_fd(-1);
  if (s.privileged() || s.seccomp().kind() == SeccompProfile::UNCONFINED) return absl::OkStatus();
  const bool localhost = s.seccomp().kind() == SeccompProfile::LOCALHOST;
  const char* field = localhost ? "seccomp.localhost_ref" : "seccomp.profile_type";
  if (!confinement_.has_seccomp) {
    return absl::FailedPreconditionError(absl::StrCat(field, ": the kernel has no seccomp filters"));
  }
  auto program = localhost ? confinement_.seccomp.Localhost(s.seccomp().path(), process.cap_bounding())
                           : confinement_.seccomp.RuntimeDefault(process.cap_bounding());
  RETURN_IF_ERROR(program, field);
  process.set_seccomp_fd(fds.Borrow((*program)->get()));
  process.set_seccomp_flags((*program)->flags);
  if (const std::string& path = (*program)->listener_path; !path.empty()) {
    auto agent = sys::ConnectStream(path);
    if (!agent.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat(field, ": the agent of listenerPath '", path, "': ", agent.status().message()));
    }
    process.set_seccomp_agent_fd(fds.Own(*std::move(agent)));
    const bool running = container.state() == state::v1::Container::RUNNING;
    process.set_seccomp_agent_state(SeccompAgentState(pod, container, (*program)->listener_metadata, running));
  }
  fds.Keep(*std::move(program));
  return absl::OkStatus();
}

absl::StatusOr<ContainerLabels> LaunchPlanner::SelinuxLabels(const state::v1::Pod& pod,
                                                             const state::v1::ContainerSpec& container) {
  const security::Selinux& selinux = *confinement_.selinux;
  const Security& s = container.security();
  const security::SelinuxContext of_pod = ToSelinuxContext(pod.spec().selinux());
  ASSIGN_OR_RETURN(const security::SelinuxLabels shared, selinux.Labels(of_pod, pod.selinux_level()));
  ASSIGN_OR_RETURN(security::SelinuxLabels own,
                   selinux.Labels(s.has_selinux() ? ToSelinuxContext(s.selinux()) : of_pod, pod.selinux_level()));
  if (RunsWithoutSelinuxLabel(pod.spec(), s)) own.process.clear();
  return ContainerLabels{own.process, own.mount, shared.mount};
}

}  // namespace berth::spec
