#include "cri/network/host_ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "cri/network/ipv4.h"
#include "runtime/sys/unique_fd.h"

namespace berth::network {
namespace {

std::string PortName(const PortMapping& port) {
  absl::string_view colon = port.host_ip.empty() ? "" : ":";
  return absl::StrCat("host port ", port.host_ip, colon, port.host_port, "/", ProtocolName(port.protocol));
}

bool SameHostPort(const PortMapping& a, const PortMapping& b) {
  return a.protocol == b.protocol && a.host_port == b.host_port && a.host_ip == b.host_ip;
}

}  // namespace

absl::StatusOr<std::vector<PortMapping>> PublishedPorts(const std::vector<PortMapping>& ports) {
  std::vector<PortMapping> out;
  for (PortMapping port : ports) {
    if (port.host_port <= 0) continue;
    if (port.host_port > 65535 || port.container_port < 1 || port.container_port > 65535) {
      return absl::InvalidArgumentError(
          absl::StrCat("port mapping ", port.host_port, ":", port.container_port, ": ports are 1 to 65535"));
    }
    if (in6_addr v6; inet_pton(AF_INET6, port.host_ip.c_str(), &v6) == 1) continue;
    if (!port.host_ip.empty()) {
      ASSIGN_OR_RETURN(Ipv4 ip, ParseIpv4(port.host_ip), PortName(port));
      port.host_ip = ip.value == 0 ? "" : FormatIpv4(ip);
    }
    bool known = false;
    for (const PortMapping& other : out) {
      known |= SameHostPort(other, port) && other.container_port == port.container_port;
    }
    if (!known) out.push_back(std::move(port));
  }
  return out;
}

absl::Status CheckHostPortUnbound(const PortMapping& port) {
  int type = port.protocol == Protocol::kUdp ? SOCK_DGRAM : SOCK_STREAM;
  sys::UniqueFd fd(socket(AF_INET, type | SOCK_CLOEXEC, port.protocol == Protocol::kSctp ? IPPROTO_SCTP : 0));
  if (!fd) return absl::OkStatus();  // a protocol that the kernel lacks is not in use
  // For TCP, connections that are still closing do not count, listeners do. For UDP the option would hide the conflict.
  int on = 1;
  if (port.protocol != Protocol::kUdp) setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port.host_port));
  if (auto ip = ParseIpv4(port.host_ip); ip.ok()) address.sin_addr.s_addr = htonl(ip->value);
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 && errno == EADDRINUSE) {
    return absl::AlreadyExistsError(absl::StrCat(PortName(port), " is bound by a process of the host"));
  }
  return absl::OkStatus();
}

absl::Status HostPortTable::Add(const Lease& lease) {
  for (size_t i = 0; i < lease.ports.size(); ++i) {
    const PortMapping& port = lease.ports[i];
    for (size_t j = 0; j < i; ++j) {
      const PortMapping& other = lease.ports[j];
      if (other.protocol == port.protocol && other.host_port == port.host_port &&
          (other.host_ip == port.host_ip || other.host_ip.empty() || port.host_ip.empty())) {
        return absl::AlreadyExistsError(absl::StrCat(PortName(port), " is asked for twice"));
      }
    }
    for (auto it = owners_.lower_bound({port.protocol, port.host_port, ""});
         it != owners_.end() && std::get<0>(it->first) == port.protocol && std::get<1>(it->first) == port.host_port;
         ++it) {
      const std::string& ip = std::get<2>(it->first);
      if (ip.empty() || port.host_ip.empty() || ip == port.host_ip) {
        return absl::AlreadyExistsError(absl::StrCat(PortName(port), " is already used by pod ", it->second.name, " (",
                                                     it->second.pod.Short(), ")"));
      }
    }
  }
  for (const PortMapping& port : lease.ports) {
    owners_[{port.protocol, port.host_port, port.host_ip}] = {lease.pod, lease.pod_name};
  }
  return absl::OkStatus();
}

void HostPortTable::Remove(const PodId& pod) {
  for (auto it = owners_.begin(); it != owners_.end();) {
    it = it->second.pod == pod ? owners_.erase(it) : std::next(it);
  }
}

}  // namespace berth::network
