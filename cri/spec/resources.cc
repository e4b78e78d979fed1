#include "cri/spec/resources.h"

#include <algorithm>

namespace berth::spec {
namespace {

using state::v1::HugepageLimit;
using state::v1::Resources;

absl::Status Invalid(absl::string_view field, int64_t value, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", value, " is ", what));
}

void Merge(const Resources& request, Resources& into) {
  const auto take = [](int64_t value, auto set) {
    if (value != 0) set(value);
  };
  take(request.cpu_period(), [&](int64_t v) { into.set_cpu_period(v); });
  take(request.cpu_quota(), [&](int64_t v) { into.set_cpu_quota(v); });
  take(request.cpu_shares(), [&](int64_t v) { into.set_cpu_shares(v); });
  take(request.memory_limit(), [&](int64_t v) { into.set_memory_limit(v); });
  take(request.memory_swap_limit(), [&](int64_t v) { into.set_memory_swap_limit(v); });
  take(request.oom_score_adj(), [&](int64_t v) { into.set_oom_score_adj(v); });
  if (!request.cpuset_cpus().empty()) into.set_cpuset_cpus(request.cpuset_cpus());
  if (!request.cpuset_mems().empty()) into.set_cpuset_mems(request.cpuset_mems());
  for (const HugepageLimit& limit : request.hugepages()) {
    auto* list = into.mutable_hugepages();
    auto same = std::find_if(list->begin(), list->end(),
                             [&](const HugepageLimit& l) { return l.page_size() == limit.page_size(); });
    *(same == list->end() ? into.add_hugepages() : &*same) = limit;
  }
  for (const auto& [key, value] : request.unified()) (*into.mutable_unified())[key] = value;
}

}  // namespace

absl::Status ValidateResources(const Resources& r) {
  if (r.cpu_shares() < 0) return Invalid("cpu_shares", r.cpu_shares(), "negative");
  if (r.cpu_period() < 0) return Invalid("cpu_period", r.cpu_period(), "negative");
  if (r.oom_score_adj() < -1000 || r.oom_score_adj() > 1000) {
    return Invalid("oom_score_adj", r.oom_score_adj(), "not within -1000 and 1000");
  }
  return absl::OkStatus();
}

cgroup::Limits LimitsOf(const Resources& r) {
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

absl::StatusOr<ResourceUpdate> PlanUpdate(const Resources& present, const Resources& request) {
  RETURN_IF_ERROR(ValidateResources(request));
  ResourceUpdate update;
  update.result = present;
  Merge(request, update.result);
  update.limits = LimitsOf(request);
  const cgroup::Limits all = LimitsOf(update.result);
  if (update.limits.memory || update.limits.memory_swap) {
    update.limits.memory = all.memory;
    update.limits.memory_swap = all.memory_swap;
  }
  if (update.limits.cpu_quota || update.limits.cpu_period) {
    update.limits.cpu_quota = all.cpu_quota;
    update.limits.cpu_period = all.cpu_period;
  }
  if (update.result.oom_score_adj() != present.oom_score_adj()) {
    update.oom_score_adj = static_cast<int>(update.result.oom_score_adj());
  }
  return update;
}

}  // namespace berth::spec
