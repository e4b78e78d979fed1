// The network of a node without a CNI configuration: a bridge, a veth pair per pod, leases, NAT and published ports,
// all through netlink. IPv4; addresses are lists everywhere, so that IPv6 can join.
//
// Who does what when a pod goes: Detach takes the published ports and the lease away and stops the pod's bridge port,
// so that its address can be given out again at once. The veth pair itself goes with the pod's network namespace, which
// the pod's owner drops after Detach (unlink of the bind, end of the pod's processes): the kernel then removes many
// pairs in one grace period, while deleting one by one waits 10 to 30 ms each. A pair whose namespace stays pinned is
// removed when the pod is attached again or when the network starts next.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "cri/network/address_pool.h"
#include "cri/network/bridge_host.h"
#include "cri/network/host_ports.h"
#include "cri/network/lease.h"
#include "cri/network/network.h"
#include "cri/network/nft.h"

namespace berth::network {

// The host's end of a pod's pair is named by this and the first digits of the pod's id.
inline constexpr absl::string_view kLinkPrefix = "bv";

class EmbeddedNetwork : public PodNetwork {
 public:
  EmbeddedNetwork(BridgeSpec spec, LeaseStore store, Nft nft);
  // While pods have leases, everything stays as it is for the next daemon. Without any, the bridge and the rules go.
  ~EmbeddedNetwork() override;

  absl::StatusOr<PodAddresses> Attach(const PodRequest& request) override;
  absl::Status Detach(const PodRequest& request) override;
  bool HasAttachment(const PodId& pod) override;
  // Leases of pods that are not alive, veth pairs without a lease, and whatever else is in the table.
  absl::Status CollectGarbage(const AlivePods& alive) override;
  absl::Status Ready() override;
  std::string Describe() override;

 private:
  // The leases of an earlier daemon are known. Needs no bridge: what is to be undone can be when none can be made.
  absl::Status Recovered() ABSL_LOCKS_EXCLUDED(start_mu_);
  absl::Status RecoverLeases() ABSL_EXCLUSIVE_LOCKS_REQUIRED(start_mu_);
  absl::StatusOr<Bridge> Prepared() ABSL_LOCKS_EXCLUDED(start_mu_);
  absl::StatusOr<Bridge> Start(RtNetlink& rt) ABSL_EXCLUSIVE_LOCKS_REQUIRED(start_mu_);
  void Rejoin(RtNetlink& rt, const std::vector<Link>& links, int bridge) ABSL_EXCLUSIVE_LOCKS_REQUIRED(start_mu_);
  absl::Status RemoveStrayLinks(RtNetlink& rt, const std::vector<Link>& links, int bridge);
  absl::StatusOr<Lease> Reserve(const PodRequest& request);
  absl::Status Connect(const Lease& lease, const Bridge& bridge, absl::string_view netns_path);
  absl::Status Publish(const Lease& lease);
  absl::Status Unpublish(const Lease& lease);
  absl::Status ReplaceTable() ABSL_EXCLUSIVE_LOCKS_REQUIRED(rules_mu_);
  absl::Status Disconnect(const Lease& lease);
  // A lease leaves the table that the rules are made from first; its address and ports are freed last.
  std::optional<Lease> TakeOut(const PodId& pod);
  void Free(const Lease& lease);
  std::vector<Lease> Leases();

  const BridgeSpec spec_;
  LeaseStore store_;

  // Lock order: start_mu_, rules_mu_, mu_.
  absl::Mutex start_mu_;
  std::optional<Bridge> bridge_ ABSL_GUARDED_BY(start_mu_);
  bool recovered_ ABSL_GUARDED_BY(start_mu_) = false;
  std::vector<std::string> problems_ ABSL_GUARDED_BY(start_mu_);

  absl::Mutex rules_mu_;
  Nft nft_ ABSL_GUARDED_BY(rules_mu_);

  absl::Mutex mu_;
  std::map<PodId, Lease> leases_ ABSL_GUARDED_BY(mu_);
  AddressPool pool_ ABSL_GUARDED_BY(mu_);
  HostPortTable ports_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::network
