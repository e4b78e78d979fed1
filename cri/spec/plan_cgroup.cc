// The cgroup of a plan: from the request's resources to limits.
#include "cri/spec/launch_plan.h"

namespace berth::spec {

absl::StatusOr<cgroup::Limits> LaunchPlanner::LimitsOf(const state::v1::Resources& r) {
  cgroup::Limits limits;
  if (r.cpu_shares() != 0) limits.cpu_shares = static_cast<uint64_t>(r.cpu_shares());
  if (r.cpu_quota() != 0) limits.cpu_quota = r.cpu_quota();
  if (r.cpu_period() != 0) limits.cpu_period = static_cast<uint64_t>(r.cpu_period());
  limits.cpuset_cpus = r.cpuset_cpus();
  limits.cpuset_mems = r.cpuset_mems();
  if (r.memory_limit() != 0) limits.memory = r.memory_limit();
  if (r.memory_swap_limit() != 0) limits.memory_swap = r.memory_swap_limit();
  for (const auto& h : r.hugepages()) limits.hugepages[h.page_size()] = h.limit();
  limits.unified = {r.unified().begin(), r.unified().end()};
  return limits;
}

absl::Status LaunchPlanner::AddCgroup(const LaunchInput& input, Launch& out, std::vector<cgroup::DeviceRule> rules) {
  ASSIGN_OR_RETURN(cgroup::Limits limits, LimitsOf(input.container.spec().resources()));
  limits.devices = std::move(rules);
  ASSIGN_OR_RETURN(limits.block_io, BlockIoOf(input));
  ASSIGN_OR_RETURN(cgroup::Cgroup made, cgroups_.Create(input.container.cgroup_path(), limits), "resources");
  auto cgroup = std::make_shared<cgroup::Cgroup>(std::move(made));
  cgroup->AddTo(&out.fds.Get(), out.plan.mutable_cgroup());
  out.fds.Keep(std::move(cgroup));
  return absl::OkStatus();
}

}  // namespace berth::spec
