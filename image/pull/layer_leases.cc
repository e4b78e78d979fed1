#include "image/pull/layer_leases.h"

#include <utility>

namespace berth::image {

void LayerLeases::Lease::End() {
  LayerLeases* owner = std::exchange(owner_, nullptr);
  if (owner == nullptr) return;
  absl::MutexLock lock(&owner->mutex_);
  for (const std::string& name : names_) {
    if (auto it = owner->leased_.find(name); it != owner->leased_.end()) owner->leased_.erase(it);
  }
}

LayerLeases::Lease LayerLeases::Hold(std::vector<std::string> names) {
  Lease lease;
  lease.owner_ = this;
  lease.names_ = std::move(names);
  absl::MutexLock lock(&mutex_);
  leased_.insert(lease.names_.begin(), lease.names_.end());
  return lease;
}

absl::Status LayerLeases::Collect(
    const std::function<absl::Status(const std::multiset<std::string>& leased)>& collect) {
  absl::MutexLock lock(&mutex_);
  return collect(leased_);
}

}  // namespace berth::image
