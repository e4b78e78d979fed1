#include "cri/network/cni_request.h"

#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cri/network/lease.h"

namespace berth::network {
namespace {

constexpr char kIngress[] = "kubernetes.io/ingress-bandwidth";
constexpr char kEgress[] = "kubernetes.io/egress-bandwidth";
constexpr absl::string_view kPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

absl::StatusOr<Json> Bandwidth(const PodRequest& request) {
  Json out;
  for (auto [annotation, rate, burst] :
       {std::tuple{kIngress, "ingressRate", "ingressBurst"}, std::tuple{kEgress, "egressRate", "egressBurst"}}) {
    auto it = request.annotations.find(annotation);
    if (it == request.annotations.end()) continue;
    ASSIGN_OR_RETURN(int64_t bits, ParseBandwidth(it->second), "annotation '", annotation, "'");
    out[rate] = bits;
    // Kubernetes has no annotation for bursts; the largest that the plugin takes leaves the rate alone in charge.
    out[burst] = std::numeric_limits<uint32_t>::max();
  }
  return out;
}

Json PortMappings(const PodRequest& request) {
  Json out;
  for (const PortMapping& port : request.ports) {
    if (port.host_port <= 0) continue;
    Json entry = {{"hostPort", port.host_port},
                  {"containerPort", port.container_port},
                  {"protocol", std::string(ProtocolName(port.protocol))}};
    if (!port.host_ip.empty()) entry["hostIP"] = port.host_ip;
    out.push_back(std::move(entry));
  }
  return out;
}

Json Dns(const PodRequest& request) {
  Json out;
  if (!request.dns_servers.empty()) out["servers"] = request.dns_servers;
  if (!request.dns_searches.empty()) out["searches"] = request.dns_searches;
  if (!request.dns_options.empty()) out["options"] = request.dns_options;
  return out;
}

}  // namespace

absl::StatusOr<int64_t> ParseBandwidth(absl::string_view quantity) {
  static constexpr std::pair<absl::string_view, double> kSuffixes[] = {
      {"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}, {"Ti", 0x1p40}, {"Pi", 0x1p50}, {"k", 1e3},
      {"M", 1e6},     {"G", 1e9},     {"T", 1e12},    {"P", 1e15},    {"m", 1e-3}};
  absl::string_view number = quantity;
  double factor = 1, value = 0;
  for (const auto& [suffix, f] : kSuffixes) {
    if (absl::ConsumeSuffix(&number, suffix)) {
      factor = f;
      break;
    }
  }
  bool plain = !number.empty() && number.find_first_not_of("0123456789.eE+-") == absl::string_view::npos;
  if (!plain || !absl::SimpleAtod(number, &value)) {
    return absl::InvalidArgumentError(absl::StrCat("'", quantity, "' is not a quantity"));
  }
  value = std::ceil(value * factor);
  if (!(value >= 1 && value <= 1e15)) {
    return absl::InvalidArgumentError(absl::StrCat("'", quantity, "' is out of range"));
  }
  return static_cast<int64_t>(value);
}

absl::StatusOr<Json> CapabilityValues(const PodRequest& request) {
  Json values = Json::object();
  ASSIGN_OR_RETURN(Json bandwidth, Bandwidth(request));
  auto put = [&](const char* capability, Json value) {
    if (!value.empty()) values[capability] = std::move(value);
  };
  put("bandwidth", std::move(bandwidth));
  put("portMappings", PortMappings(request));
  put("dns", Dns(request));
  put("io.kubernetes.cri.pod-annotations", request.annotations);
  if (!request.cgroup_parent.empty()) values["cgroupPath"] = request.cgroup_parent;
  return values;
}

absl::StatusOr<std::string> CniArgs(const PodRequest& request) {
  std::string args = "IgnoreUnknown=1";
  for (const auto& [key, value] :
       {std::pair<absl::string_view, absl::string_view>{"K8S_POD_NAMESPACE", request.pod_namespace},
        {"K8S_POD_NAME", request.pod_name},
        {"K8S_POD_INFRA_CONTAINER_ID", request.pod.str()},
        {"K8S_POD_UID", request.pod_uid}}) {
    for (char c : value) {
      if (c == ';' || c == '=' || absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
        return absl::InvalidArgumentError(absl::StrCat(key, " holds a character that CNI_ARGS cannot carry"));
      }
    }
    absl::StrAppend(&args, ";", key, "=", value);
  }
  return args;
}

std::string PluginInput(const CniConfig& config, const CniPlugin& plugin, const Json& capabilities,
                        const Json& result) {
  Json input = plugin.config;
  input["name"] = config.name;
  input["cniVersion"] = config.version;
  for (const std::string& capability : plugin.capabilities) {
    if (auto it = capabilities.find(capability); it != capabilities.end()) input["runtimeConfig"][capability] = *it;
  }
  if (!result.is_null()) input["prevResult"] = result;
  return DumpJson(input);
}

std::vector<std::string> PluginEnvironment(const PluginCall& call, const std::vector<std::string>& bin_dirs) {
  std::vector<std::string> env = {std::string(kPath), absl::StrCat("CNI_COMMAND=", call.command),
                                  absl::StrCat("CNI_PATH=", absl::StrJoin(bin_dirs, ":"))};
  if (call.container_id.empty()) return env;
  env.push_back(absl::StrCat("CNI_CONTAINERID=", call.container_id));
  env.push_back(absl::StrCat("CNI_NETNS=", call.netns));
  env.push_back(absl::StrCat("CNI_IFNAME=", kCniInterface));
  env.push_back(absl::StrCat("CNI_ARGS=", call.args));
  return env;
}

}  // namespace berth::network
