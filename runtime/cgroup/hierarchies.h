// The two implementations of Hierarchy. Internal to runtime/cgroup.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/cgroup/cgroup.h"

namespace berth::cgroup {

// One mounted v1 hierarchy.
struct V1Tree {
  std::string name;                   // of the directory beneath /sys/fs/cgroup: "cpu,cpuacct"
  std::set<std::string> controllers;  // "cpu", "cpuacct"; a named one ("name=systemd") has none
  sys::UniqueFd root;
};

// FailedPrecondition when the memory limit is below what is in use and cannot simply be dropped: v2 would answer such a
// limit with the OOM killer.
absl::Status CheckMemory(const Limits& limits, const Stats& stats);

absl::StatusOr<std::vector<V1Tree>> FindV1Trees(absl::string_view root);
std::unique_ptr<Hierarchy> MakeV1(std::vector<V1Tree> trees);
std::unique_ptr<Hierarchy> MakeV2(sys::UniqueFd root);

}  // namespace berth::cgroup
