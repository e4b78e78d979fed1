// What a plugin is called with: values for its capabilities, its stdin and its environment (CNI specification, sections
// 2 and 3, and CONVENTIONS.md). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/network/cni_config.h"
#include "cri/network/network.h"
#include "runtime/base/json.h"

namespace berth::network {

// Bits per second from a Kubernetes quantity: "10M", "1.5Gi", "2e6", "1000". InvalidArgument for anything else and for
// less than 1 or more than 10^15.
absl::StatusOr<int64_t> ParseBandwidth(absl::string_view quantity);

// Everything that the pod has to offer, by capability: portMappings, dns, bandwidth, io.kubernetes.cri.pod-annotations,
// cgroupPath; only those that are not empty. InvalidArgument for a bandwidth annotation that cannot be read.
absl::StatusOr<Json> CapabilityValues(const PodRequest& request);

// CNI_ARGS. InvalidArgument when a name holds ';' or another character that would end or change the list.
absl::StatusOr<std::string> CniArgs(const PodRequest& request);

// The plugin's stdin: its configuration with name, cniVersion, runtimeConfig with those of `capabilities` that the
// plugin declares, and prevResult unless null.
std::string PluginInput(const CniConfig& config, const CniPlugin& plugin, const Json& capabilities, const Json& result);

struct PluginCall {
  std::string command;       // "ADD", "DEL", "STATUS"
  std::string container_id;  // empty for STATUS, like what follows
  std::string netns;         // may be empty for DEL
  std::string args;
};
inline constexpr absl::string_view kCniInterface = "eth0";
// The plugin's whole environment: the CNI_* variables and a fixed PATH.
std::vector<std::string> PluginEnvironment(const PluginCall& call, const std::vector<std::string>& bin_dirs);

}  // namespace berth::network
