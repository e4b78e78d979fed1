// How a pod gets onto a network: through CNI plugins, or by the embedded bridge.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"

namespace berth::network {

enum class Protocol { kTcp, kUdp, kSctp };

struct PortMapping {
  Protocol protocol = Protocol::kTcp;
  int container_port = 0;
  int host_port = 0;  // mappings without one are not passed on
  std::string host_ip;
};

struct PodRequest {
  PodId pod;
  std::string pod_name;
  std::string pod_namespace;
  std::string pod_uid;
  std::string netns_path;  // bind of the pod's network namespace; empty when it is gone (Detach only)
  std::string cgroup_parent;
  std::vector<PortMapping> ports;
  std::vector<std::string> dns_servers, dns_searches, dns_options;
  std::map<std::string, std::string> annotations;
};

struct PodAddresses {
  std::vector<std::string> ips;                        // primary first, without prefix length
  std::vector<std::string> dns_servers, dns_searches;  // what the network suggests; may be empty
};

// The pods that there are: those with a record, and those whose Detach is owed.
using AlivePods = std::function<std::set<PodId>()>;

// Thread-safe; Attach and Detach of one pod are not called at the same time. Both block for as long as plugins take,
// bounded by the network's own timeouts.
class PodNetwork {
 public:
  virtual ~PodNetwork() = default;
  // Loopback is up and the pod has its addresses, or an error and nothing left behind, but for what HasAttachment says
  // has to be tried again by Detach.
  virtual absl::StatusOr<PodAddresses> Attach(const PodRequest& request) = 0;
  // Idempotent: OK when there is nothing to undo, also after a restart of the daemon and without the namespace.
  virtual absl::Status Detach(const PodRequest& request) = 0;
  // Whether there is something on record that Detach has to undo.
  virtual bool HasAttachment(const PodId& pod) = 0;
  // Undoes what is on record for pods that are not alive, and what no record speaks of. `alive` is called after the
  // records were listed: a pod is alive before it is attached, so none that is made meanwhile is taken for garbage. May
  // be called at any time; the first error, after all was tried.
  virtual absl::Status CollectGarbage(const AlivePods& alive) = 0;
  // OK, or why pods cannot be attached; for the NetworkReady condition.
  virtual absl::Status Ready() = 0;
  // For Status's verbose info.
  virtual std::string Describe() = 0;
  // The daemon ends: what is under way, and what is still called, ends soon, with Cancelled where it would have to
  // wait. What is undone by that is on record for the next daemon.
  virtual void Interrupt() {}
};

struct CniOptions {
  std::vector<std::string> conf_dirs = {"/etc/cni/net.d"};
  std::vector<std::string> bin_dirs = {"/opt/cni/bin", "/usr/lib/cni"};
  std::string cache_dir = "/var/lib/cni";  // results, so that DEL works after a restart; in its subdirectory berth/
  absl::Duration plugin_timeout = absl::Seconds(60);  // of each plugin call
};
// Reads no configuration yet: it is looked at when it is needed, and again when it changed.
std::unique_ptr<PodNetwork> NewCniNetwork(CniOptions options);

struct EmbeddedOptions {
  std::string bridge = "berth0";
  std::string subnet = "10.89.0.0/16";
  std::string state_dir;  // leases; made when missing; must outlive the daemon, need not outlive the machine
  int mtu = 0;            // 0: that of the interface of the default route, or 1500 when there is none
};
// Serves the network namespace of the calling thread. InvalidArgument for options that cannot work, or the errno of
// state_dir. What the kernel refuses is reported by Ready and Attach, which try again.
absl::StatusOr<std::unique_ptr<PodNetwork>> NewEmbeddedNetwork(EmbeddedOptions options);

}  // namespace berth::network
