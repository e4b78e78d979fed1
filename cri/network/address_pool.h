// Which addresses of a subnet are in use. Pure; the caller synchronises.
#pragma once

#include <set>

#include "cri/network/ipv4.h"

namespace berth::network {

class AddressPool {
 public:
  // The network address, the gateway and the broadcast address are never given out.
  explicit AddressPool(const Subnet& subnet) : subnet_(subnet), last_(subnet.gateway()) {}

  // The next free address after the one given out last, so that an address rests as long as possible before its next
  // use. ResourceExhausted when every address is in use.
  absl::StatusOr<Ipv4> Allocate();
  // Marks an address found in a lease. AlreadyExists when it is in use. Addresses outside of the subnet (it was
  // configured anew) are accepted: they are simply never given out.
  absl::Status Take(Ipv4 ip);
  void Release(Ipv4 ip) { used_.erase(ip); }

 private:
  Subnet subnet_;
  Ipv4 last_;
  std::set<Ipv4> used_;
};

}  // namespace berth::network
