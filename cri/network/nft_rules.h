// The embedded network's nftables ruleset as text for libnftables. Pure.
//
// Everything is in the table `ip berth-BRIDGE`, and what belongs to one pod is elements of two maps, so a pod comes and
// goes without touching a rule, and the cost of a packet does not grow with the number of pods.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/network/ipv4.h"
#include "cri/network/lease.h"

namespace berth::network {

// The table of the network on `bridge`: daemons with bridges of their own keep out of each other's way.
std::string TableName(absl::string_view bridge);

// One transaction that replaces the whole table, whether it exists or not.
std::string TableText(absl::string_view bridge, const Subnet& subnet, const std::vector<Lease>& leases);

// The map elements that publish a lease's ports; empty when it has none. Deleting what is not there is an error of
// nftables (and then nothing of the transaction happens).
std::string AddElementsText(absl::string_view bridge, const Lease& lease);
std::string DeleteElementsText(absl::string_view bridge, const Lease& lease);

}  // namespace berth::network
