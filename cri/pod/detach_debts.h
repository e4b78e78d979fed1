// Pods that are gone but for their network, which would not let them go: a plugin failed, hung, or was not there. Each
// is tried again until it works, by this daemon and by the next ones (docs/design/0040-owed-detaches.md).
#pragma once

#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cri/network/network.h"
#include "cri/pod/janitor.h"
#include "cri/state/state_store.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::pod {

// Thread-safe. What it is made of outlives it, but for the janitor, which ends first: its chores come here.
class DetachDebts {
 public:
  DetachDebts(state::StateStore& store, network::PodNetwork& network, Janitor& janitor)
      : store_(store), network_(network), janitor_(janitor) {}

  // When it returns OK the debt is stored, and nobody else may call Detach for that pod. OK when it is there already.
  absl::Status Take(const state::v1::Pod& pod);
  // One that a former daemon took.
  void Restore(const state::v1::Pod& pod);
  bool Has(const PodId& pod) const;
  std::vector<PodId> Pods() const;

 private:
  void Owe(const PodId& pod, absl::Duration delay);
  absl::Status Pay(const PodId& pod);

  state::StateStore& store_;
  network::PodNetwork& network_;
  Janitor& janitor_;
  mutable absl::Mutex mu_;
  std::map<PodId, state::v1::Pod> debts_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::pod
