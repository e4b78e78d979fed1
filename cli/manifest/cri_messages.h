// The CRI messages for a planned pod. Pure functions.
#pragma once

#include "cli/manifest/plan.h"
#include "cli/manifest/pod.h"
#include "cri/v1/api.pb.h"

namespace berth::cli::manifest {

::runtime::v1::PodSandboxConfig SandboxMessage(const Pod& pod, const HostFacts& host);

// `init` for one of pod.init_containers.
::runtime::v1::ContainerConfig ContainerMessage(const Pod& pod, const Container& container, bool init,
                                                const HostFacts& host, const ContainerFacts& facts);

}  // namespace berth::cli::manifest
