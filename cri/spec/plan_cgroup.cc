// The cgroup of a plan: from the request's resources to limits.
#include "cri/spec/launch_plan.h"
#include "cri/spec/resources.h"

namespace berth::spec {

absl::Status LaunchPlanner::AddCgroup(const LaunchInput& input, Launch& out, std::vector<cgroup::DeviceRule> rules) {
  cgroup::Limits limits = LimitsOf(input.container.spec().resources());
  limits.devices = std::move(rules);
  ASSIGN_OR_RETURN(limits.block_io, BlockIoOf(input));
  if (options_.pids_limit > 0) limits.pids = options_.pids_limit;
  ASSIGN_OR_RETURN(cgroup::Cgroup made, cgroups_.Create(input.container.cgroup_path(), limits), "linux.resources");
  auto cgroup = std::make_shared<cgroup::Cgroup>(std::move(made));
  cgroup->AddTo(&out.fds.Get(), out.plan.mutable_cgroup());
  out.fds.Keep(std::move(cgroup));
  return absl::OkStatus();
}

}  // namespace berth::spec
