// IPv4 addresses and prefixes as values: the arithmetic of address management. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::network {

using Mac = std::array<uint8_t, 6>;

struct Ipv4 {
  uint32_t value = 0;  // host byte order
  friend bool operator==(Ipv4 a, Ipv4 b) { return a.value == b.value; }
  friend bool operator<(Ipv4 a, Ipv4 b) { return a.value < b.value; }
};

// Dotted quad. InvalidArgument otherwise.
absl::StatusOr<Ipv4> ParseIpv4(absl::string_view text);
std::string FormatIpv4(Ipv4 ip);

// A locally administered unicast MAC address that follows from the IP address, so that a neighbour's cache stays
// right when an address goes to another pod.
Mac MacFor(Ipv4 ip);

class Subnet {
 public:
  // "10.89.0.0/16"; bits beyond the prefix are dropped. InvalidArgument unless the prefix length is 8 to 30.
  static absl::StatusOr<Subnet> Parse(absl::string_view text);

  Ipv4 network() const { return network_; }
  Ipv4 broadcast() const { return {network_.value | ~Mask()}; }
  Ipv4 gateway() const { return {network_.value + 1}; }
  int prefix_length() const { return prefix_length_; }
  bool Contains(Ipv4 ip) const { return (ip.value & Mask()) == network_.value; }
  bool Overlaps(const Subnet& other) const { return Contains(other.network_) || other.Contains(network_); }
  std::string ToString() const;

 private:
  uint32_t Mask() const { return prefix_length_ == 0 ? 0 : ~uint32_t{0} << (32 - prefix_length_); }
  Ipv4 network_;
  int prefix_length_ = 24;
};

}  // namespace berth::network
