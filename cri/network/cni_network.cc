#include "cri/network/cni_network.h"

#include <sys/stat.h>
#include <unistd.h>

#include <iterator>
#include <utility>

#include "absl/strings/str_join.h"
#include "cri/network/cni_result.h"
#include "cri/network/netns.h"
#include "runtime/sys/spawn.h"

namespace berth::network {

CniNetwork::CniNetwork(CniOptions options)
    : options_(std::move(options)), source_(options_.conf_dirs), cache_(CniCacheDir(options_)) {}

absl::StatusOr<std::string> CniNetwork::FindPlugin(absl::string_view type) {
  for (const std::string& dir : options_.bin_dirs) {
    std::string path = absl::StrCat(dir, "/", type);
    struct stat st;
    if (stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && access(path.c_str(), X_OK) == 0) return path;
  }
  return absl::NotFoundError(absl::StrCat("CNI plugin ", type, " is not in ", absl::StrJoin(options_.bin_dirs, ", ")));
}

absl::StatusOr<std::string> CniNetwork::Run(const CniConfig& config, const CniPlugin& plugin, const PluginCall& call,
                                            const Json& capabilities, const Json& result) {
  sys::SpawnRequest request;
  ASSIGN_OR_RETURN(request.path, FindPlugin(plugin.type));
  request.argv = {request.path};
  request.env = PluginEnvironment(call, options_.bin_dirs);
  request.input = PluginInput(config, plugin, capabilities, result);
  request.timeout = options_.plugin_timeout;
  ASSIGN_OR_RETURN(sys::SpawnResult ended, sys::Spawn(request), "CNI plugin ", plugin.type, " failed (", call.command,
                   ")");
  RETURN_IF_ERROR(PluginStatus(plugin.type, call.command, ended));
  return std::move(ended.out);
}

absl::Status CniNetwork::Add(CniAttachment& attachment, absl::string_view netns) {
  PluginCall call{"ADD", attachment.pod.str(), std::string(netns), attachment.args};
  Json result;
  for (const CniPlugin& plugin : attachment.config.plugins) {
    ASSIGN_OR_RETURN(std::string out, Run(attachment.config, plugin, call, attachment.capabilities, result));
    ASSIGN_OR_RETURN(result, ParseJson(out), "CNI plugin ", plugin.type, " failed (ADD): its result");
    // Every step's result is checked, so that the error names the plugin at fault.
    RETURN_IF_ERROR(AddressesOf(result), "CNI plugin ", plugin.type, " failed (ADD): its result");
  }
  attachment.result = std::move(result);
  return absl::OkStatus();
}

absl::Status CniNetwork::Del(const CniAttachment& attachment, absl::string_view netns) {
  PluginCall call{"DEL", attachment.pod.str(), std::string(netns), attachment.args};
  const CniConfig& config = attachment.config;
  Json result = VersionAtLeast(config.version, "0.4.0") ? attachment.result : Json();
  absl::Status first;
  for (auto plugin = config.plugins.rbegin(); plugin != config.plugins.rend(); ++plugin) {
    auto out = Run(config, *plugin, call, attachment.capabilities, result);
    if (!out.ok() && first.ok()) first = out.status();
  }
  return first;
}

absl::StatusOr<PodAddresses> CniNetwork::Attach(const PodRequest& request) {
  CniAttachment attachment;
  attachment.pod = request.pod;
  ASSIGN_OR_RETURN(attachment.config, source_.Current());
  ASSIGN_OR_RETURN(attachment.capabilities, CapabilityValues(request));
  ASSIGN_OR_RETURN(attachment.args, CniArgs(request));
  ASSIGN_OR_RETURN(sys::UniqueFd netns, OpenNetns(request.netns_path));
  if (!cache_.Find(request.pod).empty()) RETURN_IF_ERROR(Detach(request), "left from an earlier attempt");
  RETURN_IF_ERROR(BringUpLoopback(netns.get()));

  // On record before the first plugin runs: a daemon killed in the middle finds what it has to undo.
  RETURN_IF_ERROR(cache_.Save(attachment));
  auto add = [&]() -> absl::StatusOr<PodAddresses> {
    RETURN_IF_ERROR(Add(attachment, request.netns_path));
    ASSIGN_OR_RETURN(PodAddresses addresses, AddressesOf(attachment.result));
    if (addresses.ips.empty()) {
      return absl::FailedPreconditionError(absl::StrCat("CNI network ", attachment.config.name, " gave no address"));
    }
    RETURN_IF_ERROR(cache_.Save(attachment));
    return addresses;
  };
  auto addresses = add();
  if (!addresses.ok() && Del(attachment, request.netns_path).ok()) (void)cache_.Remove(request.pod);
  return addresses;
}

absl::StatusOr<std::vector<CniAttachment>> CniNetwork::AttachmentsToUndo(const PodRequest& request) {
  std::vector<CniAttachment> found = cache_.Find(request.pod);
  if (!found.empty()) return found;
  // Nothing on record, or it was lost: plugins must accept a DEL for what they do not know.
  auto config = source_.Current();
  if (!config.ok()) return found;  // and there is none that could have been used
  CniAttachment attachment;
  attachment.pod = request.pod;
  attachment.config = *std::move(config);
  if (auto values = CapabilityValues(request); values.ok()) {
    attachment.capabilities = *std::move(values);
  } else {
    attachment.capabilities = Json::object();
  }
  if (auto args = CniArgs(request); args.ok()) attachment.args = *std::move(args);
  found.push_back(std::move(attachment));
  return found;
}

absl::Status CniNetwork::Detach(const PodRequest& request) {
  if (!IsSafeName(request.pod.str())) return absl::InvalidArgumentError("the pod's id is empty or unsafe");
  ASSIGN_OR_RETURN(std::vector<CniAttachment> attachments, AttachmentsToUndo(request));
  // A plugin given a path that is no longer a namespace fails or, worse, takes its own.
  bool there = !request.netns_path.empty() && OpenNetns(request.netns_path).ok();
  absl::string_view netns = there ? request.netns_path : absl::string_view();
  for (const CniAttachment& attachment : attachments) RETURN_IF_ERROR(Del(attachment, netns));
  return cache_.Remove(request.pod);
}

absl::Status CniNetwork::Ready() {
  ASSIGN_OR_RETURN(CniConfig config, source_.Current());
  bool ask = VersionAtLeast(config.version, "1.1.0");
  for (const CniPlugin& plugin : config.plugins) {
    RETURN_IF_ERROR(FindPlugin(plugin.type));
    if (ask) RETURN_IF_ERROR(Run(config, plugin, {.command = "STATUS"}, Json::object(), Json()));
  }
  return absl::OkStatus();
}

std::string CniNetwork::Describe() {
  Json out = {{"kind", "cni"}, {"confDirs", options_.conf_dirs}, {"binDirs", options_.bin_dirs}};
  if (auto config = source_.Current(); config.ok()) {
    out["source"] = config->source;
    out["config"] = CniConfigJson(*config);
  } else {
    out["error"] = std::string(config.status().message());
  }
  return DumpJson(out);
}

std::unique_ptr<PodNetwork> NewCniNetwork(CniOptions options) {
  return std::make_unique<CniNetwork>(std::move(options));
}

}  // namespace berth::network
