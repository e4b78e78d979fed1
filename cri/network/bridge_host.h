// The host's side of the embedded network: the bridge, the sysctls, and the way through other programs' firewalls.
#pragma once

#include <string>

#include "cri/network/ipv4.h"
#include "cri/network/nft.h"
#include "cri/network/rtnetlink.h"
#include "runtime/base/status.h"

namespace berth::network {

struct BridgeSpec {
  std::string name;
  Subnet subnet;
  int mtu = 0;  // 0: chosen by ChooseMtu
};

struct Bridge {
  int index = 0;
  int mtu = 1500;
};

// Makes the bridge, or takes one that is there, gives it the gateway's address and brings it up. FailedPrecondition
// when the name belongs to something else or another link has a route into the subnet.
absl::StatusOr<Bridge> EnsureBridge(RtNetlink& rt, const BridgeSpec& spec);

// net.ipv4.ip_forward=1 for the whole namespace; on the bridge: route_localnet=1, IPv6 accept_ra=0 (a pod must not be
// able to give the host a route).
absl::Status SetHostSysctls(absl::string_view bridge);

// Docker, ufw and others set the policy of iptables' FORWARD chain to DROP, which no rule of another table can
// overrule. When iptables-nft's chain is there, two rules at its head let the bridge's traffic pass, in the form that
// iptables itself writes ("-i BRIDGE -j ACCEPT", "-o BRIDGE -j ACCEPT"). Nothing happens when they are there, or when
// there is no such chain. Rules of the legacy iptables are out of reach of nftables and stay with the administrator.
absl::Status AllowForwarding(Nft& nft, absl::string_view bridge);
// Takes those two rules away again. OK when there are none.
absl::Status RevokeForwarding(Nft& nft, absl::string_view bridge);

}  // namespace berth::network
