// Between CRI's messages and the daemon's own records: the only place where one becomes the other. Pure functions.
#pragma once

#include "cri/pod/engine.h"
#include "cri/v1/api.pb.h"
#include "image/store.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::service {

namespace v1 = ::runtime::v1;

// Appends ranges of ids, of CRI's messages or the records', to those of the other.
template <typename From, typename To>
void AddMappings(const From& from, To& to) {
  for (const auto& m : from) {
    auto& mapping = *to.Add();
    mapping.set_container_id(m.container_id());
    mapping.set_host_id(m.host_id());
    mapping.set_length(m.length());
  }
}

// InvalidArgument unless it is the default handler, under its name or as "".
absl::Status CheckRuntimeHandler(absl::string_view name);

// InvalidArgument for a missing config or metadata and for enum values that CRI does not define.
absl::StatusOr<state::v1::PodSpec> ToPodSpec(const v1::PodSandboxConfig& config, absl::string_view runtime_handler);
absl::StatusOr<state::v1::ContainerSpec> ToContainerSpec(const v1::ContainerConfig& config);
state::v1::Resources ToResources(const v1::LinuxContainerResources& resources);

v1::PodSandbox ToPodSandbox(const state::v1::Pod& pod);
v1::PodSandboxStatus ToPodSandboxStatus(const state::v1::Pod& pod);
v1::Container ToContainer(const state::v1::Container& container);
v1::ContainerStatus ToContainerStatus(const state::v1::Container& container);
v1::ContainerStats ToContainerStats(const pod::ContainerUsage& usage, absl::Time now);
v1::Image ToImage(const image::Image& image);
v1::FilesystemUsage ToFilesystemUsage(const image::DiskUsage& usage);

}  // namespace berth::service
