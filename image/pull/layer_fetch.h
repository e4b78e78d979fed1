// The layers of one image, fetched and unpacked side by side, the largest first, and committed together.
#pragma once

#include <functional>
#include <vector>

#include "image/pull/layer_flights.h"
#include "image/pull/pull_monitor.h"
#include "image/pull/transfer_slots.h"
#include "image/registry/host_health.h"
#include "image/registry/retry.h"
#include "image/registry/session.h"
#include "image/unpack/layer_store.h"
#include "runtime/base/status.h"

namespace berth::image {

struct LayerFetch {
  LayerStore* layers;
  LayerFlights* flights;  // of all pulls
  TransferSlots* slots;   // likewise
  HostHealth* health;
  RetryPolicy retry;
  std::vector<RegistrySession*> sessions;  // in order of trial
  int parallel = 4;                        // layers at once
  int range_connections = 1;               // for each large layer
  PullMonitor* monitor;
};

// Afterwards all `blobs` (no two with one diffID) are in the store, durable. Those that are there already are not
// fetched; those that another pull is fetching are waited for. The first error stops all and is returned; so does the
// monitor's cancellation (Cancelled). DataLoss from one server does not count when another has the right bytes.
absl::Status FetchLayers(const LayerFetch& fetch, const std::vector<LayerBlob>& blobs);

}  // namespace berth::image
