#include "cri/pod/detach_debts.h"

#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "cri/pod/network_request.h"

namespace berth::pod {

absl::Status DetachDebts::Take(const state::v1::Pod& pod) {
  const PodId id(pod.id());
  RETURN_IF_ERROR(store_.Put(state::Kind::kDetach, pod.id(), pod.SerializeAsString()), "debt");
  {
    absl::MutexLock lock(&mu_);
    debts_[id] = pod;
  }
  spdlog::warn("pod {}: it goes without its network, which is owed", id.str());
  Owe(id, absl::Seconds(1));
  return absl::OkStatus();
}

void DetachDebts::Restore(const state::v1::Pod& pod) {
  const PodId id(pod.id());
  {
    absl::MutexLock lock(&mu_);
    debts_[id] = pod;
  }
  Owe(id, absl::ZeroDuration());
}

bool DetachDebts::Has(const PodId& pod) const {
  absl::MutexLock lock(&mu_);
  return debts_.count(pod) != 0;
}

std::vector<PodId> DetachDebts::Pods() const {
  absl::MutexLock lock(&mu_);
  std::vector<PodId> pods;
  for (const auto& [id, pod] : debts_) pods.push_back(id);
  return pods;
}

void DetachDebts::Owe(const PodId& pod, absl::Duration delay) {
  janitor_.Owe(
      absl::StrCat("pod ", pod.str(), ", which is gone: its network"), [this, pod] { return Pay(pod); }, delay);
}

absl::Status DetachDebts::Pay(const PodId& id) {
  network::PodRequest request;
  {
    absl::MutexLock lock(&mu_);
    auto debt = debts_.find(id);
    if (debt == debts_.end()) return absl::OkStatus();
    request = NetworkRequest(debt->second);
  }
  RETURN_IF_ERROR(network_.Detach(request));
  RETURN_IF_ERROR(store_.Delete(state::Kind::kDetach, id.str()), "debt");
  absl::MutexLock lock(&mu_);
  debts_.erase(id);
  return absl::OkStatus();
}

}  // namespace berth::pod
