#include "cli/manifest/resources.h"

#include <algorithm>

namespace berth::cli::manifest {
namespace {

bool RequestsAnything(const Resources& r) {
  return r.cpu_request.value_or(0) > 0 || r.memory_request.value_or(0) > 0 || r.cpu_limit.value_or(0) > 0 ||
         r.memory_limit.value_or(0) > 0;
}

bool IsGuaranteed(const Resources& r) {
  return r.cpu_limit.value_or(0) > 0 && r.memory_limit.value_or(0) > 0 && r.cpu_request == r.cpu_limit &&
         r.memory_request == r.memory_limit;
}

}  // namespace

Qos QosOf(const Pod& pod) {
  bool any = false, all_guaranteed = true;
  for (const auto* containers : {&pod.init_containers, &pod.containers}) {
    for (const Container& container : *containers) {
      any = any || RequestsAnything(container.resources);
      all_guaranteed = all_guaranteed && IsGuaranteed(container.resources);
    }
  }
  if (!any) return Qos::kBestEffort;
  return all_guaranteed ? Qos::kGuaranteed : Qos::kBurstable;
}

int64_t OomScoreAdj(Qos qos, const Resources& resources, int64_t memory_capacity) {
  constexpr int64_t kGuaranteedScore = -997, kBestEffortScore = 1000;
  if (qos == Qos::kGuaranteed) return kGuaranteedScore;
  if (qos == Qos::kBestEffort || memory_capacity <= 0) return kBestEffortScore;
  auto requested = static_cast<__int128>(resources.memory_request.value_or(0));
  auto score = static_cast<int64_t>(1000 - std::min<__int128>(1000, 1000 * requested / memory_capacity));
  // Never as safe as Guaranteed, never as exposed as BestEffort.
  return std::clamp<int64_t>(score, 1000 + kGuaranteedScore, kBestEffortScore - 1);
}

int64_t CpuShares(std::optional<int64_t> cpu_request) {
  constexpr int64_t kMin = 2, kMax = 262144;
  int64_t milli = std::min<int64_t>(cpu_request.value_or(0), kMax * 1000 / 1024 + 1);
  return std::clamp<int64_t>(milli * 1024 / 1000, kMin, kMax);
}

int64_t CpuQuota(std::optional<int64_t> cpu_limit) {
  constexpr int64_t kMinQuota = 1000;  // the kernel takes no less
  if (cpu_limit.value_or(0) <= 0) return 0;
  int64_t milli = std::min<int64_t>(*cpu_limit, INT64_MAX / kCpuPeriod);
  return std::max(milli * kCpuPeriod / 1000, kMinQuota);
}

}  // namespace berth::cli::manifest
