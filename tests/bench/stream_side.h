// What a side moves through exec and port-forward.
#pragma once

#include <cstdint>

#include "tests/bench/side.h"

namespace berth::bench {

// Moves `bytes` out of a container's command, into one, out of a port of its pod and into one, each over a session of
// its own. Adds exec_out, exec_in, forward_out, forward_in (MB/s, of 10^6 bytes, from the moment at which the streams
// are open to that at which all has arrived; an exec's start and end are in it), and with a tree exec_out_cpu and so
// on: the CPU time of everything but the container's own processes.
absl::Status RunStreams(Side& side, const RunningPod& pod, uint64_t bytes);

}  // namespace berth::bench
