// The layers of one image, fetched and unpacked side by side, the largest first, and committed together.
#pragma once

#include <vector>

#include "image/pull/pull_monitor.h"
#include "image/registry/session.h"
#include "image/unpack/layer_store.h"
#include "runtime/base/status.h"

namespace berth::image {

struct LayerFetch {
  LayerStore* layers;
  std::vector<RegistrySession*> sessions;  // in order of trial
  int parallel = 4;                        // layers at once
  PullMonitor* monitor;
};

// Afterwards all `blobs` (no two with one diffID) are in the store, durable. Those that are there already are not
// fetched. The first error stops all and is returned; so does the monitor's cancellation (Cancelled). DataLoss from one
// server does not count when another has the right bytes.
absl::Status FetchLayers(const LayerFetch& fetch, const std::vector<LayerBlob>& blobs);

}  // namespace berth::image
