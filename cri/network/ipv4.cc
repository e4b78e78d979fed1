#include "cri/network/ipv4.h"

#include <arpa/inet.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace berth::network {

absl::StatusOr<Ipv4> ParseIpv4(absl::string_view text) {
  in_addr raw;
  if (inet_pton(AF_INET, std::string(text).c_str(), &raw) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not an IPv4 address"));
  }
  return Ipv4{ntohl(raw.s_addr)};
}

std::string FormatIpv4(Ipv4 ip) {
  return absl::StrCat(ip.value >> 24, ".", ip.value >> 16 & 255, ".", ip.value >> 8 & 255, ".", ip.value & 255);
}

Mac MacFor(Ipv4 ip) {
  return {0x0a,
          0x58,
          static_cast<uint8_t>(ip.value >> 24),
          static_cast<uint8_t>(ip.value >> 16),
          static_cast<uint8_t>(ip.value >> 8),
          static_cast<uint8_t>(ip.value)};
}

absl::StatusOr<Subnet> Subnet::Parse(absl::string_view text) {
  std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  Subnet subnet;
  ASSIGN_OR_RETURN(Ipv4 ip, ParseIpv4(parts.first), "subnet '", text, "'");
  if (!absl::SimpleAtoi(parts.second, &subnet.prefix_length_) || subnet.prefix_length_ < 8 ||
      subnet.prefix_length_ > 30) {
    return absl::InvalidArgumentError(absl::StrCat("subnet '", text, "': the prefix length must be 8 to 30"));
  }
  subnet.network_ = {ip.value & subnet.Mask()};
  return subnet;
}

std::string Subnet::ToString() const { return absl::StrCat(FormatIpv4(network_), "/", prefix_length_); }

}  // namespace berth::network
