// What a pod's manifest comes to on this host: directories, environment, DNS, user. Pure functions
// of the manifest and of facts that the caller looked up.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/manifest/pod.h"

namespace berth::cli::manifest {

// Known before the pod exists.
struct HostFacts {
  std::string uid;          // of the new pod
  std::string log_root;     // /var/log/pods
  std::string volume_root;  // /var/lib/berth/cli/volumes
  std::string node_name;
  std::string resolv_conf;  // the host's, as text
  int64_t memory_capacity = 0;
};

// Known when a container is created.
struct ContainerFacts {
  std::vector<std::string> pod_ips;
  std::string image_id;
  std::optional<int64_t> image_uid;  // the image's USER, by number or by name
  std::string image_username;
  std::vector<std::string> mount_sources;  // host path for each of Container::mounts
};

// LOG_ROOT/NAMESPACE_NAME_UID, kubelet's layout.
std::string LogDirectory(const Pod& pod, const HostFacts& host);
// VOLUME_ROOT/UID: the pod's emptyDir volumes.
std::string VolumeDirectory(const HostFacts& host);

// The pod's variables in order, references to earlier ones expanded.
std::vector<std::pair<std::string, std::string>> Environment(const Pod& pod, const Container& container,
                                                             const HostFacts& host, const ContainerFacts& facts);

// What resolv.conf(5) of the pod says. Absent: the host's file as it is.
std::optional<Dns> PodDns(const Pod& pod, const HostFacts& host);

// The container's value, else the pod's.
Identity EffectiveIdentity(const Pod& pod, const Container& container);

// FailedPrecondition if runAsNonRoot forbids the user that the container would have.
absl::Status CheckNonRoot(const Pod& pod, const Container& container, const ContainerFacts& facts);

}  // namespace berth::cli::manifest
