// Links, addresses and routes by rtnetlink(7), as far as the embedded network needs them.
#pragma once

#include <libmnl/libmnl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/network/ipv4.h"
#include "runtime/base/status.h"

namespace berth::network {

inline constexpr int kLoopbackIndex = 1;  // the kernel's promise for every network namespace

struct Link {
  int index = 0;
  std::string name;
  std::string kind;  // "bridge", "veth", …; empty for hardware
  int master = 0;    // index of the bridge that it is a port of
  int mtu = 0;
  bool operational = false;  // IF_OPER_UP: sends and receives
};

struct VethSpec {
  std::string name;  // of the end that stays here; at most 15 characters
  int bridge = 0;    // index of the bridge that end becomes a port of
  int mtu = 1500;
  std::string peer_name;
  int peer_netns = -1;  // descriptor of the namespace in which the peer is born
  Mac peer_mac = {};
};

struct Route {
  Ipv4 network;
  int prefix_length = 0;  // 0: a default route
  int link = 0;
};

// One socket, in the network namespace of the thread that opened it. Every call is one request that waits for the
// kernel's answer; errors carry the errno. Not thread-safe.
class RtNetlink {
 public:
  static absl::StatusOr<RtNetlink> Open();

  // ENODEV when there is none.
  absl::StatusOr<Link> Find(absl::string_view name);
  absl::StatusOr<std::vector<Link>> Links();
  // IPv4 routes of the main table.
  absl::StatusOr<std::vector<Route>> Routes();

  absl::Status AddBridge(absl::string_view name, const Mac& mac, int mtu);
  // The end that stays is up, the peer is not. EEXIST when a link of that name is there.
  absl::Status AddVeth(const VethSpec& spec);
  // Makes a link a port of the bridge, whatever it was before.
  absl::Status SetMaster(int link, int bridge);
  // Lets a bridge port send a frame back to where it came from: a pod that reaches itself through the host.
  absl::Status SetHairpin(int port);
  // Stops a bridge port from forwarding and forgets the addresses learned there, without the grace period that removal
  // takes.
  absl::Status DisablePort(int port);
  absl::Status SetUp(int link);
  // The kernel lets a link that was brought up transmit a little later, in a worker; until then it drops packets, and a
  // dropped first ARP request costs the pod a second. Waits for that for up to 0.1 s; a link that takes longer (a
  // bridge with spanning tree) is no error.
  absl::Status WaitOperational(absl::string_view name);
  // Waits for RCU grace periods: 10 to 30 ms. Not for the hot path.
  absl::Status Delete(int link);
  // Nothing happens when the link has it.
  absl::Status AddAddress(int link, Ipv4 ip, const Subnet& subnet);
  absl::Status AddDefaultRoute(int link, Ipv4 gateway);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  explicit RtNetlink(mnl_socket* socket) : socket_(socket) {}
  absl::Status Request(nlmsghdr* message, const std::function<void(const nlmsghdr*)>& on_answer = nullptr);
  std::unique_ptr<mnl_socket, Close> socket_;
  uint32_t sequence_ = 0;
};

}  // namespace berth::network
