#include "cri/network/address_pool.h"

#include <algorithm>

namespace berth::network {

absl::StatusOr<Ipv4> AddressPool::Allocate() {
  const uint32_t first = subnet_.gateway().value + 1, end = subnet_.broadcast().value;
  for (uint32_t i = 0; i < end - first; ++i) {
    last_ = {last_.value + 1 >= end || last_.value + 1 < first ? first : last_.value + 1};
    if (used_.insert(last_).second) return last_;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no free address in ", subnet_.ToString(), ": all ", end - first, " are in use"));
}

absl::Status AddressPool::Take(Ipv4 ip) {
  if (!used_.insert(ip).second) {
    return absl::AlreadyExistsError(absl::StrCat("address ", FormatIpv4(ip), " is in use"));
  }
  if (subnet_.Contains(ip)) last_ = std::max(last_, ip);
  return absl::OkStatus();
}

}  // namespace berth::network
