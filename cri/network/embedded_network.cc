#include "cri/network/embedded_network.h"

#include <fcntl.h>
#include <net/if.h>

#include <cerrno>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "cri/network/conntrack.h"
#include "cri/network/netns.h"
#include "cri/network/nft_rules.h"
#include "cri/network/rtnetlink.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

constexpr char kPodInterface[] = "eth0";

// 48 bits of the pod's id: unique enough, and found again without a record.
std::string LinkName(const PodId& pod) { return absl::StrCat(kLinkPrefix, pod.Short()); }

// Links that the pod's kernel makes from here on ignore router advertisements: any neighbour on the bridge could send
// one and become the pod's IPv6 router.
absl::Status IgnoreRouterAdvertisements() {
  absl::Status status = sys::WriteFileAt(AT_FDCWD, "/proc/sys/net/ipv6/conf/default/accept_ra", "0");
  return ErrnoOf(status) == ENOENT ? absl::OkStatus() : status;
}

absl::Status DeleteLinkIfThere(RtNetlink& rt, absl::string_view name) {
  auto link = rt.Find(name);
  absl::Status status = link.ok() ? rt.Delete(link->index) : link.status();
  return ErrnoOf(status) == ENODEV ? absl::OkStatus() : status;
}

// Best effort: a flow that is missed ends after half a minute of silence.
void ForgetFlows(const Lease& lease) {
  std::set<int> ports;
  for (const PortMapping& port : lease.ports) {
    if (port.protocol == Protocol::kUdp) ports.insert(port.host_port);
  }
  (void)ForgetUdpFlows(ports);
}

}  // namespace

EmbeddedNetwork::EmbeddedNetwork(BridgeSpec spec, LeaseStore store, Nft nft)
    : spec_(std::move(spec)), store_(std::move(store)), nft_(std::move(nft)), pool_(spec_.subnet) {}

EmbeddedNetwork::~EmbeddedNetwork() {
  if (!Leases().empty()) return;
  absl::MutexLock start(&start_mu_);
  if (!bridge_) return;
  absl::MutexLock rules(&rules_mu_);
  (void)nft_.Run(absl::StrCat("delete table ip ", TableName(spec_.name), "\n"));
  (void)RevokeForwarding(nft_, spec_.name);
  if (auto rt = RtNetlink::Open(); rt.ok()) (void)DeleteLinkIfThere(*rt, spec_.name);
}

absl::StatusOr<Bridge> EmbeddedNetwork::Prepared() {
  absl::MutexLock lock(&start_mu_);
  ASSIGN_OR_RETURN(RtNetlink rt, RtNetlink::Open(), "embedded network");
  if (bridge_) {
    auto link = rt.Find(spec_.name);
    if (!link.ok() || link->index != bridge_->index) bridge_.reset();  // someone deleted it
  }
  if (!bridge_) {
    ASSIGN_OR_RETURN(bridge_, Start(rt), "embedded network");
  }
  return *bridge_;
}

absl::StatusOr<Bridge> EmbeddedNetwork::Start(RtNetlink& rt) {
  RETURN_IF_ERROR(RecoverLeases());
  ASSIGN_OR_RETURN(Bridge bridge, EnsureBridge(rt, spec_));
  RETURN_IF_ERROR(SetHostSysctls(spec_.name));
  ASSIGN_OR_RETURN(std::vector<Link> links, rt.Links());
  Rejoin(rt, links, bridge.index);
  (void)RemoveStrayLinks(rt, links, bridge.index);  // CollectGarbage tries again
  absl::MutexLock lock(&rules_mu_);
  RETURN_IF_ERROR(ReplaceTable());
  RETURN_IF_ERROR(AllowForwarding(nft_, spec_.name));
  return bridge;
}

absl::Status EmbeddedNetwork::Recovered() {
  absl::MutexLock lock(&start_mu_);
  return Annotate(RecoverLeases(), "embedded network");
}

// A lease without its veth pair belongs to a namespace that is gone.
absl::Status EmbeddedNetwork::RecoverLeases() {
  if (recovered_) return absl::OkStatus();
  ASSIGN_OR_RETURN(RtNetlink rt, RtNetlink::Open());
  ASSIGN_OR_RETURN(std::vector<Link> links, rt.Links());
  std::set<std::string> present;
  for (const Link& link : links) present.insert(link.name);
  // Without them, addresses that are in use would be given out again.
  ASSIGN_OR_RETURN(std::vector<Lease> found, store_.Load(&problems_), "leases");
  absl::MutexLock lock(&mu_);
  for (Lease& lease : found) {
    auto ip = ParseIpv4(lease.ips.front());
    absl::Status status = present.count(lease.link) ? absl::OkStatus() : absl::NotFoundError("its veth is gone");
    if (status.ok()) status = ports_.Add(lease);
    if (status.ok()) {
      status = pool_.Take(*ip);
      if (!status.ok()) ports_.Remove(lease.pod);
    }
    if (!status.ok()) {
      problems_.push_back(absl::StrCat("lease of pod ", lease.pod_name, " is dropped: ", status.message()));
      (void)store_.Remove(lease.pod);
      continue;
    }
    leases_[lease.pod] = std::move(lease);
  }
  recovered_ = true;
  return absl::OkStatus();
}

// Pods whose bridge was deleted under them become ports of the new one.
void EmbeddedNetwork::Rejoin(RtNetlink& rt, const std::vector<Link>& links, int bridge) {
  std::map<std::string, int> strangers;
  for (const Link& link : links) {
    if (link.master != bridge) strangers[link.name] = link.index;
  }
  for (const Lease& lease : Leases()) {
    auto link = strangers.find(lease.link);
    if (link == strangers.end()) continue;
    absl::Status joined = rt.SetMaster(link->second, bridge);
    if (joined.ok() && !lease.ports.empty()) joined = rt.SetHairpin(link->second);
    if (!joined.ok()) problems_.push_back(absl::StrCat("pod ", lease.pod_name, " is cut off: ", joined.message()));
  }
}

// A pair without a lease is of a pod that was detached. A lease is there before its pair, so `links` are of no pod that
// is being attached.
absl::Status EmbeddedNetwork::RemoveStrayLinks(RtNetlink& rt, const std::vector<Link>& links, int bridge) {
  std::set<std::string> leased;
  for (const Lease& lease : Leases()) leased.insert(lease.link);
  absl::Status first;
  for (const Link& link : links) {
    if (link.master != bridge || !absl::StartsWith(link.name, kLinkPrefix) || leased.count(link.name)) continue;
    absl::Status deleted = rt.Delete(link.index);
    if (first.ok() && ErrnoOf(deleted) != ENODEV) first = Annotate(deleted, link.name);
  }
  return first;
}

absl::StatusOr<Lease> EmbeddedNetwork::Reserve(const PodRequest& request) {
  Lease lease;
  lease.pod = request.pod;
  lease.pod_name = absl::StrCat(request.pod_namespace, "/", request.pod_name);
  lease.link = LinkName(request.pod);
  ASSIGN_OR_RETURN(lease.ports, PublishedPorts(request.ports));
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(ports_.Add(lease));
  auto ip = pool_.Allocate();
  if (!ip.ok()) {
    ports_.Remove(lease.pod);
    return ip.status();
  }
  lease.ips = {FormatIpv4(*ip)};
  leases_[lease.pod] = lease;
  return lease;
}

std::optional<Lease> EmbeddedNetwork::TakeOut(const PodId& pod) {
  absl::MutexLock lock(&mu_);
  auto node = leases_.extract(pod);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

void EmbeddedNetwork::Free(const Lease& lease) {
  absl::MutexLock lock(&mu_);
  ports_.Remove(lease.pod);
  if (auto ip = ParseIpv4(lease.ips.front()); ip.ok()) pool_.Release(*ip);
}

std::vector<Lease> EmbeddedNetwork::Leases() {
  absl::MutexLock lock(&mu_);
  std::vector<Lease> leases;
  for (const auto& [pod, lease] : leases_) leases.push_back(lease);
  return leases;
}

absl::Status EmbeddedNetwork::Connect(const Lease& lease, const Bridge& bridge, absl::string_view netns_path) {
  ASSIGN_OR_RETURN(sys::UniqueFd netns, OpenNetns(netns_path));
  ASSIGN_OR_RETURN(Ipv4 ip, ParseIpv4(lease.ips.front()));
  std::optional<RtNetlink> pod;
  RETURN_IF_ERROR(RunInNetns(netns.get(), [&]() -> absl::Status {
    RETURN_IF_ERROR(IgnoreRouterAdvertisements());
    ASSIGN_OR_RETURN(pod, RtNetlink::Open());
    return absl::OkStatus();
  }));
  RETURN_IF_ERROR(pod->SetUp(kLoopbackIndex));

  ASSIGN_OR_RETURN(RtNetlink host, RtNetlink::Open());
  VethSpec veth{.name = lease.link,
                .bridge = bridge.index,
                .mtu = bridge.mtu,
                .peer_name = kPodInterface,
                .peer_netns = netns.get(),
                .peer_mac = MacFor(ip)};
  absl::Status made = host.AddVeth(veth);
  if (ErrnoOf(made) == EEXIST) {  // of an earlier attempt whose namespace is still pinned
    RETURN_IF_ERROR(DeleteLinkIfThere(host, lease.link));
    made = host.AddVeth(veth);
  }
  RETURN_IF_ERROR(made);
  if (!lease.ports.empty()) {
    ASSIGN_OR_RETURN(Link link, host.Find(lease.link));
    RETURN_IF_ERROR(host.SetHairpin(link.index));
  }
  ASSIGN_OR_RETURN(Link inside, pod->Find(kPodInterface));
  RETURN_IF_ERROR(pod->AddAddress(inside.index, ip, spec_.subnet));
  RETURN_IF_ERROR(pod->SetUp(inside.index));
  RETURN_IF_ERROR(pod->AddDefaultRoute(inside.index, spec_.subnet.gateway()));
  RETURN_IF_ERROR(pod->WaitOperational(kPodInterface));
  RETURN_IF_ERROR(host.WaitOperational(lease.link));
  return host.WaitOperational(spec_.name);
}

absl::Status EmbeddedNetwork::ReplaceTable() {
  return nft_.Run(TableText(spec_.name, spec_.subnet, Leases())).status();
}

absl::Status EmbeddedNetwork::Publish(const Lease& lease) {
  if (lease.ports.empty()) return absl::OkStatus();
  absl::MutexLock lock(&rules_mu_);
  if (nft_.Run(AddElementsText(spec_.name, lease)).ok()) return absl::OkStatus();
  return ReplaceTable();  // someone flushed the ruleset; the leases know all of it, this one too
}

absl::Status EmbeddedNetwork::Unpublish(const Lease& lease) {
  if (lease.ports.empty()) return absl::OkStatus();
  absl::MutexLock lock(&rules_mu_);
  if (nft_.Run(DeleteElementsText(spec_.name, lease)).ok()) return absl::OkStatus();
  return ReplaceTable();
}

absl::StatusOr<PodAddresses> EmbeddedNetwork::Attach(const PodRequest& request) {
  if (!IsSafeName(request.pod.str())) return absl::InvalidArgumentError("the pod's id is empty or unsafe");
  ASSIGN_OR_RETURN(Bridge bridge, Prepared());
  RETURN_IF_ERROR(Detach(request), "left from an earlier attempt");
  ASSIGN_OR_RETURN(Lease lease, Reserve(request));
  auto undo = absl::MakeCleanup([&] {
    (void)TakeOut(lease.pod);
    (void)Unpublish(lease);
    if (auto rt = RtNetlink::Open(); rt.ok()) (void)DeleteLinkIfThere(*rt, lease.link);
    (void)store_.Remove(lease.pod);
    Free(lease);
  });
  for (const PortMapping& port : lease.ports) RETURN_IF_ERROR(CheckHostPortUnbound(port));
  RETURN_IF_ERROR(store_.Save(lease));
  RETURN_IF_ERROR(Connect(lease, bridge, request.netns_path), "pod ", lease.pod_name);
  RETURN_IF_ERROR(Publish(lease), "pod ", lease.pod_name);
  ForgetFlows(lease);
  std::move(undo).Cancel();
  return PodAddresses{.ips = lease.ips};
}

absl::Status EmbeddedNetwork::Disconnect(const Lease& lease) {
  RETURN_IF_ERROR(Unpublish(lease));
  ForgetFlows(lease);
  ASSIGN_OR_RETURN(RtNetlink rt, RtNetlink::Open());
  auto link = rt.Find(lease.link);
  absl::Status stopped = link.status();
  if (link.ok() && link->master != 0) stopped = rt.DisablePort(link->index);  // 0: its bridge was deleted
  if (!stopped.ok() && ErrnoOf(stopped) != ENODEV) return stopped;
  return store_.Remove(lease.pod);
}

absl::Status EmbeddedNetwork::Detach(const PodRequest& request) {
  RETURN_IF_ERROR(Recovered());
  std::optional<Lease> lease = TakeOut(request.pod);
  if (!lease) return absl::OkStatus();
  // The address and the ports stay reserved until nothing of this pod answers for them.
  if (absl::Status status = Disconnect(*lease); !status.ok()) {
    absl::MutexLock lock(&mu_);
    leases_[request.pod] = *std::move(lease);
    return Annotate(status, absl::StrCat("pod ", request.pod.Short()));
  }
  Free(*lease);
  return absl::OkStatus();
}

bool EmbeddedNetwork::HasAttachment(const PodId& pod) {
  if (!Recovered().ok()) return true;  // nobody knows
  absl::MutexLock lock(&mu_);
  return leases_.count(pod) != 0;
}

absl::Status EmbeddedNetwork::CollectGarbage(const AlivePods& alive) {
  ASSIGN_OR_RETURN(Bridge bridge, Prepared());
  ASSIGN_OR_RETURN(RtNetlink rt, RtNetlink::Open());
  ASSIGN_OR_RETURN(std::vector<Link> links, rt.Links());
  const std::vector<Lease> leases = Leases();
  const std::set<PodId> living = alive();
  absl::Status first;
  for (const Lease& lease : leases) {
    if (living.count(lease.pod) != 0) continue;
    PodRequest request;
    request.pod = lease.pod;
    absl::Status done = Detach(request);
    if (first.ok()) first = done;
  }
  absl::Status removed = RemoveStrayLinks(rt, links, bridge.index);
  if (first.ok()) first = removed;
  absl::MutexLock lock(&rules_mu_);
  absl::Status table = ReplaceTable();
  return first.ok() ? table : first;
}

absl::Status EmbeddedNetwork::Ready() {
  RETURN_IF_ERROR(Prepared());
  absl::MutexLock lock(&rules_mu_);
  if (!nft_.Run(absl::StrCat("list chain ip ", TableName(spec_.name), " publish\n")).ok())
    RETURN_IF_ERROR(ReplaceTable(), "embedded network");
  return AllowForwarding(nft_, spec_.name);
}

std::string EmbeddedNetwork::Describe() {
  std::vector<std::string> problems;
  {
    absl::MutexLock lock(&start_mu_);
    problems = problems_;
  }
  return DumpJson({{"kind", "embedded"},
                   {"bridge", spec_.name},
                   {"subnet", spec_.subnet.ToString()},
                   {"gateway", FormatIpv4(spec_.subnet.gateway())},
                   {"leases", Leases().size()},
                   {"problems", problems}});
}

absl::StatusOr<std::unique_ptr<PodNetwork>> NewEmbeddedNetwork(EmbeddedOptions options) {
  BridgeSpec spec{.name = options.bridge, .mtu = options.mtu};
  if (!IsSafeName(spec.name) || spec.name.size() >= IFNAMSIZ) {
    return absl::InvalidArgumentError(absl::StrCat("bridge '", spec.name, "' cannot name an interface"));
  }
  ASSIGN_OR_RETURN(spec.subnet, Subnet::Parse(options.subnet));
  ASSIGN_OR_RETURN(LeaseStore store, LeaseStore::Open(options.state_dir), "state_dir");
  ASSIGN_OR_RETURN(Nft nft, Nft::Open());
  auto network = std::make_unique<EmbeddedNetwork>(std::move(spec), std::move(store), std::move(nft));
  (void)network->Ready();  // recovery happens now; what fails is tried again and reported by Ready
  return network;
}

}  // namespace berth::network
