// How large a pod's /dev/shm is. A pure function.
#pragma once

#include <cstdint>

#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// The annotation that asks for a size, a Kubernetes quantity such as "128Mi". CRI has no field for it; CRI-O gave it
// this name, and pods that have it shall not need another one here.
inline constexpr char kShmSizeAnnotation[] = "io.kubernetes.cri-o.ShmSize";

// In bytes; 64 MiB for a pod without the annotation. InvalidArgument, naming it: not a quantity, zero, larger than
// 2^62, or given to a pod that uses the host's IPC and with it the host's /dev/shm.
absl::StatusOr<uint64_t> ShmSize(const state::v1::PodSpec& spec);

}  // namespace berth::spec
