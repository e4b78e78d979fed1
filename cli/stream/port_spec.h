// Which local ports lead to which ports of a pod: "80", "8080:80", ":80", "127.0.0.1:8080:80", "[::1]:8080:80".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli::stream {

struct PortSpec {
  std::string address;  // IPv4 or IPv6, "localhost" for both loopbacks, empty for the default
  uint16_t local = 0;   // 0: a free one
  uint16_t remote = 0;
};

// [ADDRESS:][LOCAL:]REMOTE; without LOCAL and its colon the same as REMOTE. InvalidArgument names what is wrong.
absl::StatusOr<PortSpec> ParsePortSpec(absl::string_view text);

struct Listener {
  sys::UniqueFd socket;  // non-blocking
  std::string name;      // "127.0.0.1:8080", "[::1]:8080"
  std::string address;
  uint16_t local = 0, remote = 0;
};

// Listens for one. "localhost" gives two listeners of one port, or one where the machine has no IPv6 (or no IPv4).
// InvalidArgument: the address is none of this machine's; Unavailable: it is taken; PermissionDenied.
absl::StatusOr<std::vector<Listener>> Listen(const PortSpec& spec);

}  // namespace berth::cli::stream
