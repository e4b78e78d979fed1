// What each CRI call does, without gRPC: a message in, a message and a status out.
#pragma once

#include <string>

#include "cri/cdi/registry.h"
#include "cri/network/network.h"
#include "cri/pod/engine.h"
#include "cri/spec/features.h"
#include "cri/streaming/server.h"
#include "cri/v1/api.pb.h"
#include "image/store.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/cgroup.h"

namespace berth::service {

namespace v1 = ::runtime::v1;

// What Status and Version tell of the daemon itself.
struct DaemonInfo {
  std::string version;  // semantic version
  std::string commit;   // as in berth.v1's InfoResponse
  std::string state_dir;
  std::string root_dir;
  std::string network;  // "cni" or "embedded"
  std::string config;   // as TOML
  cgroup::Version cgroups = cgroup::Version::kV2;
  spec::Features features;
  cdi::Registry* cdi = nullptr;  // outlives the calls
  struct {
    bool seccomp = false, apparmor = false, selinux = false;  // what the host can confine with
  } confinement;
};

// Thread-safe. Every call may block; the codes are those of pod::Engine and image::Store.
class Calls {
 public:
  Calls(pod::Engine& engine, image::Store& images, network::PodNetwork& network, streaming::Server& streaming,
        DaemonInfo info)
      : engine_(engine), images_(images), network_(network), streaming_(streaming), info_(std::move(info)) {}

#define BERTH_CALL(Name) absl::Status Name(const pod::CallContext&, const v1::Name##Request&, v1::Name##Response&)
  // status_calls.cc
  BERTH_CALL(Version);
  BERTH_CALL(Status);
  BERTH_CALL(RuntimeConfig);
  BERTH_CALL(UpdateRuntimeConfig);
  // sandbox_calls.cc
  BERTH_CALL(RunPodSandbox);
  BERTH_CALL(StopPodSandbox);
  BERTH_CALL(RemovePodSandbox);
  BERTH_CALL(PodSandboxStatus);
  BERTH_CALL(ListPodSandbox);
  BERTH_CALL(UpdatePodSandboxResources);
  // container_calls.cc
  BERTH_CALL(CreateContainer);
  BERTH_CALL(StartContainer);
  BERTH_CALL(StopContainer);
  BERTH_CALL(RemoveContainer);
  BERTH_CALL(ListContainers);
  BERTH_CALL(ContainerStatus);
  BERTH_CALL(UpdateContainerResources);
  BERTH_CALL(ReopenContainerLog);
  BERTH_CALL(ExecSync);
  BERTH_CALL(ContainerStats);
  BERTH_CALL(ListContainerStats);
  // streaming_calls.cc
  BERTH_CALL(Exec);
  BERTH_CALL(Attach);
  BERTH_CALL(PortForward);
  // image_calls.cc
  BERTH_CALL(ListImages);
  BERTH_CALL(ImageStatus);
  BERTH_CALL(PullImage);
  BERTH_CALL(RemoveImage);
  BERTH_CALL(ImageFsInfo);
#undef BERTH_CALL

 private:
  pod::Engine& engine_;
  image::Store& images_;
  network::PodNetwork& network_;
  streaming::Server& streaming_;
  const DaemonInfo info_;
};

// Whether every label of `selector` stands in `labels` with that value.
template <typename Map>
bool MatchesLabels(const Map& labels, const Map& selector) {
  for (const auto& [key, value] : selector) {
    auto it = labels.find(key);
    if (it == labels.end() || it->second != value) return false;
  }
  return true;
}

}  // namespace berth::service
