// The records of the state store as what they mean.
#pragma once

#include <string>
#include <vector>

#include "cri/state/state_store.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::pod {

struct Records {
  std::vector<state::v1::Pod> pods;
  std::vector<state::v1::Container> containers;  // each of one of the pods
  std::vector<state::v1::Pod> detaches;          // of pods that are gone but for their network
  // One line for each thing that was lost or set aside; told once, since it is not found again.
  std::vector<std::string> damage;
};

// Reads them all. One that means nothing (no message, another's id, a container whose pod has no record) is set aside
// in the store: nothing can be done with it, and what it speaks of is a stray. Fails only when the store does.
absl::StatusOr<Records> ReadRecords(state::StateStore& store);

}  // namespace berth::pod
