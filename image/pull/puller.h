// One pull from beginning to end: manifest, platform, config, layers in parallel, commit, catalogue.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "image/catalog/catalog.h"
#include "image/content/content_store.h"
#include "image/pull/layer_flights.h"
#include "image/pull/layer_leases.h"
#include "image/pull/pull_monitor.h"
#include "image/pull/transfer_slots.h"
#include "image/reference/reference.h"
#include "image/registry/host_health.h"
#include "image/registry/http_client.h"
#include "image/registry/retry.h"
#include "image/registry/token_source.h"
#include "image/store.h"
#include "image/unpack/layer_store.h"

namespace berth::image {

// What a pull works with; all outlive it.
struct PullParts {
  ContentStore* content;
  LayerStore* layers;
  Catalog* catalog;
  LayerLeases* leases;
  TokenSource* tokens;
  HostHealth* health;
  LayerFlights* flights;
  TransferSlots* slots;
  std::vector<std::string> hosts_dirs;
  std::set<std::string> pinned;  // normalised references
  int parallel_layers = 4;
  int range_connections = 1;
  TrustOptions trust;
  HttpClient::Options http;
  RetryPolicy retry;
};

// Blocking; any number at once, in threads of their own. Errors as Store::Pull has them. On an error or a cancellation
// no trace is left but layers that were complete, for the next collection.
absl::StatusOr<ImageRow> PullImage(const PullParts& parts, const Reference& reference, const Credentials& credentials,
                                   PullMonitor& monitor);

}  // namespace berth::image
