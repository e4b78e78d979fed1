#include "cri/network/lease.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "cri/network/ipv4.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::network {
namespace {

constexpr int kVersion = 1;
constexpr absl::string_view kSuffix = ".json";

absl::StatusOr<Protocol> ParseProtocol(absl::string_view name) {
  for (Protocol p : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    if (ProtocolName(p) == name) return p;
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown protocol '", name, "'"));
}

absl::StatusOr<int> PortField(const Json& object, const char* key) {
  ASSIGN_OR_RETURN(int64_t port, IntField(object, key));
  if (port < 1 || port > 65535) return absl::InvalidArgumentError(absl::StrCat("field '", key, "': not a port"));
  return static_cast<int>(port);
}

absl::StatusOr<PortMapping> ParsePort(const Json& json) {
  PortMapping port;
  ASSIGN_OR_RETURN(std::string protocol, StringField(json, "protocol"));
  ASSIGN_OR_RETURN(port.protocol, ParseProtocol(protocol));
  ASSIGN_OR_RETURN(port.container_port, PortField(json, "containerPort"));
  ASSIGN_OR_RETURN(port.host_port, PortField(json, "hostPort"));
  ASSIGN_OR_RETURN(port.host_ip, StringField(json, "hostIP"));
  if (!port.host_ip.empty()) RETURN_IF_ERROR(ParseIpv4(port.host_ip));
  return port;
}

}  // namespace

absl::string_view ProtocolName(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return "tcp";
    case Protocol::kUdp:
      return "udp";
    case Protocol::kSctp:
      return "sctp";
  }
  return "unknown";
}

std::string LeaseText(const Lease& lease) {
  Json ports = Json::array();
  for (const PortMapping& p : lease.ports) {
    ports.push_back({{"protocol", std::string(ProtocolName(p.protocol))},
                     {"containerPort", p.container_port},
                     {"hostPort", p.host_port},
                     {"hostIP", p.host_ip}});
  }
  return DumpJson({{"version", kVersion},
                   {"pod", lease.pod.str()},
                   {"podName", lease.pod_name},
                   {"ips", lease.ips},
                   {"link", lease.link},
                   {"ports", ports}});
}

absl::StatusOr<Lease> ParseLease(absl::string_view text) {
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  ASSIGN_OR_RETURN(int64_t version, IntField(json, "version"));
  if (version != kVersion) return absl::InvalidArgumentError(absl::StrCat("unknown lease version ", version));
  Lease lease;
  ASSIGN_OR_RETURN(std::string pod, StringField(json, "pod"));
  if (!IsSafeName(pod)) return absl::InvalidArgumentError("field 'pod': not an id");
  lease.pod = PodId(pod);
  ASSIGN_OR_RETURN(lease.pod_name, StringField(json, "podName"));
  ASSIGN_OR_RETURN(lease.ips, StringListField(json, "ips"));
  if (lease.ips.empty()) return absl::InvalidArgumentError("field 'ips': empty");
  for (const std::string& ip : lease.ips) RETURN_IF_ERROR(ParseIpv4(ip), "field 'ips'");
  ASSIGN_OR_RETURN(lease.link, StringField(json, "link"));
  if (!IsSafeName(lease.link)) return absl::InvalidArgumentError("field 'link': not an interface name");
  if (auto ports = json.find("ports"); ports != json.end()) {
    if (!ports->is_array()) return absl::InvalidArgumentError("field 'ports': expected a list");
    for (const Json& entry : *ports) {
      if (!entry.is_object()) return absl::InvalidArgumentError("field 'ports': expected objects");
      ASSIGN_OR_RETURN(PortMapping port, ParsePort(entry), "field 'ports'");
      lease.ports.push_back(std::move(port));
    }
  }
  return lease;
}

absl::StatusOr<LeaseStore> LeaseStore::Open(absl::string_view dir) {
  RETURN_IF_ERROR(sys::MakeDirs(dir, 0700));
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(dir, O_RDONLY | O_DIRECTORY));
  return LeaseStore(std::string(dir), std::move(fd));
}

absl::StatusOr<std::vector<Lease>> LeaseStore::Load(std::vector<std::string>* problems) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir_.get()));
  std::vector<Lease> leases;
  for (const std::string& name : names) {
    absl::string_view pod = name;
    if (absl::StartsWith(name, ".")) unlinkat(dir_.get(), name.c_str(), 0);  // a Save that a kill cut short
    if (!absl::ConsumeSuffix(&pod, kSuffix) || absl::StartsWith(name, ".")) continue;
    auto read = [&]() -> absl::StatusOr<Lease> {
      ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(dir_.get(), name));
      ASSIGN_OR_RETURN(Lease lease, ParseLease(text));
      if (lease.pod.str() != pod) return absl::InvalidArgumentError("field 'pod': is not the file's name");
      return lease;
    };
    auto lease = read();
    // What the machine is short of says nothing of the lease, and without it its addresses would be given twice.
    if (const int error = ErrnoOf(lease.status()); error == EMFILE || error == ENFILE || error == ENOMEM) {
      return Annotate(lease.status(), absl::StrCat("lease '", name, "'"));
    }
    if (lease.ok()) {
      leases.push_back(*std::move(lease));
    } else {
      problems->push_back(absl::StrCat("lease '", name, "' is dropped: ", lease.status().message()));
      unlinkat(dir_.get(), name.c_str(), 0);
    }
  }
  return leases;
}

absl::Status LeaseStore::Save(const Lease& lease) {
  if (!IsSafeName(lease.pod.str())) return absl::InvalidArgumentError("the pod's id cannot name a file");
  return Annotate(sys::ReplaceFileAt(dir_.get(), absl::StrCat(lease.pod.str(), kSuffix), LeaseText(lease), 0600),
                  absl::StrCat("lease in '", path_, "'"));
}

absl::Status LeaseStore::Remove(const PodId& pod) {
  if (!IsSafeName(pod.str())) return absl::OkStatus();
  if (unlinkat(dir_.get(), absl::StrCat(pod.str(), kSuffix).c_str(), 0) != 0 && errno != ENOENT) {
    return ErrnoError(errno, absl::StrCat("remove lease of pod ", pod.Short()));
  }
  return absl::OkStatus();
}

}  // namespace berth::network
