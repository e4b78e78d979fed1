#include "cri/network/nft_rules.h"

#include "absl/strings/str_replace.h"

namespace berth::network {
namespace {

// * guard: route_localnet lets the host answer for 127.0.0.0/8 on the bridge, which the way to a published port from
// the
//   host's loopback needs. Packets from pods for loopback addresses must not profit from it: they are dropped before
//   connection tracking turns the replies of redirected connections back into loopback addresses.
// * prerouting and output run before other programs' redirections (priority -100), a published port is ours.
// * postrouting, in order: a host process that used 127.0.0.1; a pod that came to a pod (or itself) through a published
//   port and must be answered through the host; everything that leaves the subnet.
constexpr absl::string_view kTable = R"(table ip $TABLE
delete table ip $TABLE
table ip $TABLE {
  map any_address { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map one_address { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  chain publish {
    dnat ip to ip daddr . meta l4proto . th dport map @one_address
    dnat ip to meta l4proto . th dport map @any_address
  }
  chain guard {
    type filter hook prerouting priority -300; policy accept;
    iifname "$BRIDGE" ip saddr 127.0.0.0/8 drop
    iifname "$BRIDGE" ip daddr 127.0.0.0/8 drop
  }
  chain prerouting {
    type nat hook prerouting priority -110; policy accept;
    fib daddr type local jump publish
  }
  chain output {
    type nat hook output priority -110; policy accept;
    fib daddr type local jump publish
  }
  chain postrouting {
    type nat hook postrouting priority 90; policy accept;
    ip saddr 127.0.0.0/8 oifname "$BRIDGE" masquerade
    ip saddr $SUBNET oifname "$BRIDGE" ct status dnat masquerade
    ip saddr $SUBNET ip daddr != { $SUBNET, 224.0.0.0/4 } masquerade fully-random
  }
}
)";

enum class Part { kKeyOnly, kWhole };

std::string ElementsText(absl::string_view verb, absl::string_view bridge, const Lease& lease, Part part) {
  std::string text;
  for (const PortMapping& port : lease.ports) {
    bool any = port.host_ip.empty();
    std::string key =
        absl::StrCat(any ? "" : absl::StrCat(port.host_ip, " . "), ProtocolName(port.protocol), " . ", port.host_port);
    std::string value =
        part == Part::kKeyOnly ? "" : absl::StrCat(" : ", lease.ips.front(), " . ", port.container_port);
    absl::StrAppend(&text, verb, " element ip ", TableName(bridge), " ", any ? "any_address" : "one_address", " { ",
                    key, value, " }\n");
  }
  return text;
}

}  // namespace

std::string TableName(absl::string_view bridge) { return absl::StrCat("berth-", bridge); }

std::string AddElementsText(absl::string_view bridge, const Lease& lease) {
  return ElementsText("add", bridge, lease, Part::kWhole);
}
std::string DeleteElementsText(absl::string_view bridge, const Lease& lease) {
  return ElementsText("delete", bridge, lease, Part::kKeyOnly);
}

std::string TableText(absl::string_view bridge, const Subnet& subnet, const std::vector<Lease>& leases) {
  std::string text =
      absl::StrReplaceAll(kTable, {{"$TABLE", TableName(bridge)}, {"$BRIDGE", bridge}, {"$SUBNET", subnet.ToString()}});
  for (const Lease& lease : leases) absl::StrAppend(&text, AddElementsText(bridge, lease));
  return text;
}

}  // namespace berth::network
