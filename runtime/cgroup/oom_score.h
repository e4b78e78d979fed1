// oom_score_adj of processes that run already.
#pragma once

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/cgroup.h"

namespace berth::cgroup {

// Gives `to` to every process of the cgroup and beneath it that has `from`: those that inherited it. A process that
// chose another value for itself keeps it. On error some have the new value. Blocking; thread-safe.
absl::Status ReplaceOomScore(Hierarchy& hierarchy, absl::string_view path, int from, int to);

}  // namespace berth::cgroup
