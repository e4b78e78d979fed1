// The layers of one image, fetched and unpacked side by side, the largest first, and committed together.
#pragma once

#include <functional>
#include <string>
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

struct WantedLayer {
  LayerBlob blob;    // without a diffID: it is found out
  std::string file;  // not empty: the blob is no archive, it is the file of that path (file_layer.h)
};

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
  // Called with the diffIDs of all, in their order, before what promised none becomes a layer of the store. May be
  // empty.
  std::function<void(const std::vector<std::string>& diff_ids)> known;
};

// Afterwards all `layers` (no two that promise one diffID) are in the store, durable. Those of a promised diffID that
// are there already are not fetched; those that another pull is fetching are waited for. The first error stops all and
// is returned; so does the monitor's cancellation (Cancelled). DataLoss from one server does not count when another has
// the right bytes.
absl::Status FetchLayers(const LayerFetch& fetch, const std::vector<WantedLayer>& layers);

}  // namespace berth::image
