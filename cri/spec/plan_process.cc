// The first process of a plan: who it is, what it runs and what it may do.
#include <linux/capability.h>

#include "cri/spec/confinement.h"
#include "cri/spec/launch_plan.h"
#include "cri/spec/process.h"
#include "runtime/security/capabilities.h"
#include "runtime/sys/file.h"

namespace berth::spec {

using state::v1::ContainerSpec;
using state::v1::Security;

absl::Status LaunchPlanner::AddProcess(const LaunchInput& input, Launch& out) {
  const ContainerSpec& spec = input.container.spec();
  const Security& s = spec.security();
  shim::v1::Process& process = *out.plan.mutable_process();

  security::UserRequest request;
  request.image_user = input.image.user;
  if (s.has_run_as_user()) request.run_as_user = s.run_as_user();
  if (s.has_run_as_group()) request.run_as_group = s.run_as_group();
  request.run_as_username = s.run_as_username();
  request.supplemental_groups = {s.supplemental_groups().begin(), s.supplemental_groups().end()};
  request.strict_groups = s.strict_groups();
  ASSIGN_OR_RETURN(security::UserFiles files, security::ReadUserFiles(input.rootfs.get()), "image");
  ASSIGN_OR_RETURN(out.user, security::ResolveUser(request, files));
  process.set_uid(out.user.uid);
  process.set_gid(out.user.gid);
  for (uint32_t g : out.user.groups) process.add_groups(g);

  ASSIGN_OR_RETURN(std::vector<std::string> argv, MergeCommand(spec, input.image));
  for (std::string& a : argv) process.add_argv(std::move(a));
  // HOSTNAME as the pod's hostname file says, without asking the kernel of another namespace.
  auto hostname = sys::ReadFile(input.pod_dir + "/hostname");
  std::string host = hostname.ok() ? hostname->substr(0, hostname->find('\n')) : "";
  for (std::string& e : MergeEnv(spec, input.image, host, out.user.home)) process.add_env(std::move(e));
  process.set_cwd(WorkingDir(spec, input.image));

  security::CapabilityRequest caps;
  caps.privileged = s.privileged();
  caps.add = {s.add_capabilities().begin(), s.add_capabilities().end()};
  caps.drop = {s.drop_capabilities().begin(), s.drop_capabilities().end()};
  caps.add_ambient = {s.add_ambient_capabilities().begin(), s.add_ambient_capabilities().end()};
  ASSIGN_OR_RETURN(security::CapabilitySets sets, security::ResolveCapabilities(caps, available_caps_), "capabilities");
  process.set_cap_bounding(sets.bounding);
  process.set_cap_permitted(sets.permitted);
  process.set_cap_effective(sets.effective);
  process.set_cap_inheritable(sets.inheritable);
  process.set_cap_ambient(sets.ambient);
  process.set_no_new_privs(s.no_new_privs());
  RETURN_IF_ERROR(AddSeccomp(input.pod, input.container, process, out.fds));
  ASSIGN_OR_RETURN(std::string profile, AppArmorProfileOf(s, *confinement_.apparmor));
  process.set_apparmor_profile(profile);
  process.set_selinux_label(input.selinux.process);
  process.set_tty(spec.tty());
  process.set_umask(022);
  process.set_oom_score_adj(static_cast<int32_t>(spec.resources().oom_score_adj()));
  process.set_new_session(true);

  ASSIGN_OR_RETURN(out.stop_signal,
                   ParseSignal(spec.stop_signal().empty() ? input.image.stop_signal : spec.stop_signal()));
  out.plan.set_stop_signal(static_cast<uint32_t>(out.stop_signal));
  return absl::OkStatus();
}

absl::Status LaunchPlanner::AddRlimits(const LaunchInput& input, Launch& out) {
  ASSIGN_OR_RETURN(const std::vector<Rlimit> limits,
                   RlimitsOf(input.container.spec(), input.pod.spec(), options_.rlimits));
  const bool may_raise = (available_caps_ >> CAP_SYS_RESOURCE & 1) != 0;
  RETURN_IF_ERROR(CheckRlimits(limits, may_raise));
  for (const Rlimit& limit : limits) {
    shim::v1::Rlimit& planned = *out.plan.mutable_process()->add_rlimits();
    planned.set_resource(static_cast<uint32_t>(limit.resource));
    planned.set_soft(limit.soft);
    planned.set_hard(limit.hard);
  }
  return absl::OkStatus();
}

}  // namespace berth::spec
