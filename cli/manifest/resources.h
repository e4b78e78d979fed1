// Kubernetes' resource figures turned into cgroup values, as kubelet does it. Pure functions.
#pragma once

#include <cstdint>

#include "cli/manifest/pod.h"

namespace berth::cli::manifest {

enum class Qos { kGuaranteed, kBurstable, kBestEffort };

// Of the whole pod, init containers included.
Qos QosOf(const Pod& pod);

// What the kernel prefers to kill: -997 for Guaranteed, 1000 for BestEffort, and in between the
// less the more of the host's `memory_capacity` bytes the container requests.
int64_t OomScoreAdj(Qos qos, const Resources& resources, int64_t memory_capacity);

// cgroup v1 scale; `cpu_request` in thousandths, absent or 0 gives the least there is.
int64_t CpuShares(std::optional<int64_t> cpu_request);

inline constexpr int64_t kCpuPeriod = 100'000;  // microseconds
// Microseconds per kCpuPeriod; 0, which is no quota, without a limit.
int64_t CpuQuota(std::optional<int64_t> cpu_limit);

}  // namespace berth::cli::manifest
