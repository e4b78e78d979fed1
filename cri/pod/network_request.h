// What the network is told of a pod.
#pragma once

#include "cri/network/network.h"
#include "state/v1/state.pb.h"

namespace berth::pod {

// netns_path is empty when there is nothing at the pod's.
network::PodRequest NetworkRequest(const state::v1::Pod& pod);

}  // namespace berth::pod
