// The embedded network's nftables ruleset as text for libnftables. Pure.
//
// Everything is in the table `ip berth`, and what belongs to one pod is elements of two maps, so a pod comes and goes
// without touching a rule, and the cost of a packet does not grow with the number of pods.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/network/ipv4.h"
#include "cri/network/lease.h"

namespace berth::network {

// One transaction that replaces the whole table, whether it exists or not.
std::string TableText(absl::string_view bridge, const Subnet& subnet, const std::vector<Lease>& leases);

// The map elements that publish a lease's ports; empty when it has none. Deleting what is not there is an error of
// nftables (and then nothing of the transaction happens).
std::string AddElementsText(const Lease& lease);
std::string DeleteElementsText(const Lease& lease);

}  // namespace berth::network
