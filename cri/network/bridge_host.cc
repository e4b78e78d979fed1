#include "cri/network/bridge_host.h"

#include <fcntl.h>

#include <cerrno>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

absl::StatusOr<int> ChooseMtu(RtNetlink& rt) {
  ASSIGN_OR_RETURN(std::vector<Route> routes, rt.Routes());
  for (const Route& route : routes) {
    if (route.prefix_length != 0 || route.link == 0) continue;
    ASSIGN_OR_RETURN(std::vector<Link> links, rt.Links());
    for (const Link& link : links) {
      if (link.index == route.link && link.mtu >= 576) return link.mtu;
    }
  }
  return 1500;
}

absl::Status CheckSubnetIsFree(RtNetlink& rt, const BridgeSpec& spec, int bridge) {
  ASSIGN_OR_RETURN(std::vector<Route> routes, rt.Routes());
  for (const Route& route : routes) {
    if (route.prefix_length == 0 || route.link == bridge) continue;
    auto shorter = [](Ipv4 ip, int length) { return length >= 32 ? ip.value : ip.value >> (32 - length); };
    int length = std::min(route.prefix_length, spec.subnet.prefix_length());
    // A route for more than the subnet (a VPN's 10.0.0.0/8) is less specific than the bridge's and does no harm.
    if (route.prefix_length < spec.subnet.prefix_length()) continue;
    if (shorter(route.network, length) == shorter(spec.subnet.network(), length)) {
      return absl::FailedPreconditionError(absl::StrCat("subnet ", spec.subnet.ToString(), " is in use: route to ",
                                                        FormatIpv4(route.network), "/", route.prefix_length,
                                                        " by another interface"));
    }
  }
  return absl::OkStatus();
}

absl::Status SetSysctl(absl::string_view path, absl::string_view value) {
  ASSIGN_OR_RETURN(std::string now, sys::ReadFile(path));
  if (absl::StripAsciiWhitespace(now) == value) return absl::OkStatus();
  return sys::WriteFileAt(AT_FDCWD, path, value);
}

}  // namespace

absl::StatusOr<Bridge> EnsureBridge(RtNetlink& rt, const BridgeSpec& spec) {
  auto link = rt.Find(spec.name);
  if (!link.ok() && ErrnoOf(link.status()) == ENODEV) {
    RETURN_IF_ERROR(CheckSubnetIsFree(rt, spec, 0));
    int mtu = spec.mtu;
    if (mtu == 0) {
      ASSIGN_OR_RETURN(mtu, ChooseMtu(rt));
    }
    // An address of its own keeps the bridge from taking (and changing) that of its lowest port.
    RETURN_IF_ERROR(rt.AddBridge(spec.name, MacFor(spec.subnet.gateway()), mtu));
    link = rt.Find(spec.name);
  }
  RETURN_IF_ERROR(link);
  if (link->kind != "bridge") {
    return absl::FailedPreconditionError(absl::StrCat("link '", spec.name, "' is not a bridge"));
  }
  RETURN_IF_ERROR(CheckSubnetIsFree(rt, spec, link->index));
  RETURN_IF_ERROR(rt.AddAddress(link->index, spec.subnet.gateway(), spec.subnet));
  RETURN_IF_ERROR(rt.SetUp(link->index));
  return Bridge{.index = link->index, .mtu = spec.mtu != 0 ? spec.mtu : link->mtu};
}

absl::Status SetHostSysctls(absl::string_view bridge) {
  RETURN_IF_ERROR(SetSysctl("/proc/sys/net/ipv4/ip_forward", "1"));
  RETURN_IF_ERROR(SetSysctl(absl::StrCat("/proc/sys/net/ipv4/conf/", bridge, "/route_localnet"), "1"));
  absl::Status v6 = SetSysctl(absl::StrCat("/proc/sys/net/ipv6/conf/", bridge, "/accept_ra"), "0");
  return ErrnoOf(v6) == ENOENT ? absl::OkStatus() : v6;  // a kernel without IPv6
}

absl::Status AllowForwarding(Nft& nft, absl::string_view bridge) {
  auto chain = nft.Run("list chain ip filter FORWARD\n");
  if (!chain.ok() || !absl::StrContains(*chain, "hook forward")) return absl::OkStatus();
  std::string rules;
  for (absl::string_view direction : {"iifname", "oifname"}) {
    if (absl::StrContains(*chain, absl::StrCat("\t", direction, " \"", bridge, "\" counter packets"))) continue;
    absl::StrAppend(&rules, "insert rule ip filter FORWARD ", direction, " \"", bridge, "\" counter accept\n");
  }
  return rules.empty() ? absl::OkStatus() : nft.Run(rules).status();
}

absl::Status RevokeForwarding(Nft& nft, absl::string_view bridge) {
  auto chain = nft.Run("list chain ip filter FORWARD\n");
  if (!chain.ok()) return absl::OkStatus();
  std::string rules;
  for (absl::string_view line : absl::StrSplit(*chain, '\n')) {
    bool ours = absl::StrContains(line, absl::StrCat("ifname \"", bridge, "\" counter packets"));
    size_t handle = line.find("# handle ");
    if (!ours || handle == absl::string_view::npos) continue;
    absl::StrAppend(&rules, "delete rule ip filter FORWARD ", line.substr(handle + 2), "\n");
  }
  return rules.empty() ? absl::OkStatus() : nft.Run(rules).status();
}

}  // namespace berth::network
