// The pod and the container that every measurement runs, as a kubelet would ask for them.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "cri/v1/api.pb.h"

namespace berth::bench {

namespace v1 = ::runtime::v1;

// Every pod carries it, with the run's id as the value: what a run left can be found.
inline constexpr char kRunLabel[] = "berth.bench/run";

struct Workload {
  std::string image;          // must have `sleep` and `true`
  std::string run_id;         // the value of kRunLabel
  std::string cgroup_parent;  // of the pods; empty: the endpoint's own choice
  std::string log_directory;  // of the container logs; a pod gets a directory of its own in it
};

// A best-effort pod with a network namespace of its own, RuntimeDefault seccomp and a name nobody else has.
v1::PodSandboxConfig PodConfig(const Workload& workload);

// `sleep`, which as a pid namespace's first process does not react to SIGTERM; with the masked and read-only paths of a
// container that is not privileged, and RuntimeDefault seccomp.
v1::ContainerConfig ContainerConfig(const Workload& workload);

}  // namespace berth::bench
