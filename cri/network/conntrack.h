// The kernel's table of tracked connections, as far as published UDP ports need it.
#pragma once

#include <set>

#include "runtime/base/status.h"

namespace berth::network {

// Forgets the IPv4 UDP flows whose first packet went to one of `ports`. Address translation is decided by a flow's
// first packet alone, and a UDP client that keeps sending keeps its flow: without this it would go on missing a pod
// that was published later, or reach one that is gone. OK when there is none. Works on the calling thread's network
// namespace.
absl::Status ForgetUdpFlows(const std::set<int>& ports);

}  // namespace berth::network
