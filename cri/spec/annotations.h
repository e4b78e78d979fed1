// What the annotations of a container and its pod ask for where CRI has no field. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// A class, and the annotation that names it; both empty when none does.
struct ClassRequest {
  std::string name;
  std::string annotation;
};

// The container's io.kubernetes.cri.KIND-class; else of the pod KIND.resources.beta.kubernetes.io/container.NAME, else
// …/pod. `kind` is "blockio" or "rdt".
ClassRequest ClassOf(absl::string_view kind, const state::v1::ContainerSpec& container, const state::v1::PodSpec& pod);

// ContainerConfig.CDI_devices, then the comma-separated values of the container's cdi.k8s.io/* annotations, each name
// once. InvalidArgument naming the field or the annotation for what is not the name of a device.
absl::StatusOr<std::vector<std::string>> CdiDevicesOf(const state::v1::ContainerSpec& container);

}  // namespace berth::spec
