// A container's resources: from CRI's numbers to limits, and what an update makes of them. Pure.
#pragma once

#include <optional>

#include "runtime/base/status.h"
#include "runtime/cgroup/limits.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// InvalidArgument naming the field for numbers that no machine can honour. What depends on the cgroup version is
// checked by cgroup::PlanV1 and PlanV2.
absl::Status ValidateResources(const state::v1::Resources& resources);

// 0 and empty leave a limit as it is.
cgroup::Limits LimitsOf(const state::v1::Resources& resources);

struct ResourceUpdate {
  state::v1::Resources result;       // all that is in force afterwards
  cgroup::Limits limits;             // what has to be written
  std::optional<int> oom_score_adj;  // when it changes
};
// What `request` makes of `present`: values that it does not give stay, hugepage limits are replaced by page size and
// `unified` by key. Memory and swap, and quota and period, are one limit each to the kernel: where one of them is
// given, the other one is written with it.
absl::StatusOr<ResourceUpdate> PlanUpdate(const state::v1::Resources& present, const state::v1::Resources& request);

}  // namespace berth::spec
