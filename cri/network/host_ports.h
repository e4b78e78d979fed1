// Which ports of the host are published, and for which pod.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "cri/network/lease.h"
#include "cri/network/network.h"

namespace berth::network {

// The mappings that concern an IPv4 pod, normalised: those without a host port or with an IPv6 host address are left
// out, "0.0.0.0" becomes the empty address, duplicates go. InvalidArgument for ports out of range or a host address
// that is no address.
absl::StatusOr<std::vector<PortMapping>> PublishedPorts(const std::vector<PortMapping>& ports);

// OK when no process of this network namespace listens there, AlreadyExists when one does. A check at one moment, to
// give a clear error early; nothing is reserved.
absl::Status CheckHostPortUnbound(const PortMapping& port);

// Pure; the caller synchronises. Takes normalised mappings.
class HostPortTable {
 public:
  // All of them or none. AlreadyExists with the port and its owner's name when another pod (or the same one) has it; a
  // mapping for all addresses and one for a single address are in conflict, as bind(2) has it.
  absl::Status Add(const Lease& lease);
  void Remove(const PodId& pod);

 private:
  using Key = std::tuple<Protocol, int, std::string>;  // protocol, host port, host address
  struct Owner {
    PodId pod;
    std::string name;
  };
  std::map<Key, Owner> owners_;
};

}  // namespace berth::network
