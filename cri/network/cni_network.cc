#include "cri/network/cni_network.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_join.h"
#include "cri/network/cni_result.h"
#include "cri/network/netns.h"
#include "runtime/sys/family.h"
#include "runtime/sys/spawn.h"

namespace berth::network {
namespace {

// For what nobody's pod waits for; the kubelet asks for the status every few seconds.
constexpr absl::Duration kAskPatience = absl::Seconds(5);

}  // namespace

CniNetwork::CniNetwork(CniOptions options)
    : options_(std::move(options)),
      ends_(eventfd(0, EFD_CLOEXEC)),
      source_(options_.conf_dirs),
      cache_(CniCacheDir(options_)) {
  auto entries = cache_.List();
  if (!entries.ok()) return;
  for (const CniCache::Entry& entry : *entries) inherited_.insert(entry.pod);
}

absl::StatusOr<std::string> CniNetwork::FindPlugin(absl::string_view type) {
  for (const std::string& dir : options_.bin_dirs) {
    std::string path = absl::StrCat(dir, "/", type);
    struct stat st;
    if (stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && access(path.c_str(), X_OK) == 0) return path;
  }
  return absl::NotFoundError(absl::StrCat("CNI plugin ", type, " is not in ", absl::StrJoin(options_.bin_dirs, ", ")));
}

absl::StatusOr<std::string> CniNetwork::Run(const CniConfig& config, const CniPlugin& plugin, const PluginCall& call,
                                            const Json& capabilities, const Json& result, absl::Duration patience) {
  if (ending_) return absl::CancelledError("the daemon ends");
  sys::SpawnRequest request;
  ASSIGN_OR_RETURN(request.path, FindPlugin(plugin.type));
  request.argv = {request.path};
  request.env = PluginEnvironment(call, options_.bin_dirs);
  request.input = PluginInput(config, plugin, capabilities, result);
  request.timeout = patience;
  request.cancel = ends_.get();
  ASSIGN_OR_RETURN(sys::SpawnResult ended, sys::Spawn(request), "CNI plugin ", plugin.type, " failed (", call.command,
                   ")");
  RETURN_IF_ERROR(PluginStatus(plugin.type, call.command, ended));
  return std::move(ended.out);
}

absl::Status CniNetwork::Add(CniAttachment& attachment, absl::string_view netns) {
  PluginCall call{"ADD", attachment.pod.str(), std::string(netns), attachment.args};
  Json result;
  for (const CniPlugin& plugin : attachment.config.plugins) {
    ASSIGN_OR_RETURN(std::string out,
                     Run(attachment.config, plugin, call, attachment.capabilities, result, options_.plugin_timeout));
    // Every step's result is checked, so that the error names the plugin at fault. It is no fault of the caller.
    auto check = [&]() -> absl::Status {
      ASSIGN_OR_RETURN(result, ParseJson(out));
      return AddressesOf(result).status();
    };
    if (absl::Status checked = check(); !checked.ok()) {
      return absl::InternalError(
          absl::StrCat("CNI plugin ", plugin.type, " failed (ADD): its result: ", checked.message()));
    }
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
    auto out = Run(config, *plugin, call, attachment.capabilities, result, options_.plugin_timeout);
    if (!out.ok() && first.ok()) first = out.status();
  }
  return first;
}

absl::StatusOr<PodAddresses> CniNetwork::Attach(const PodRequest& request) {
  {
    absl::MutexLock lock(&mu_);
    auto may = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return !collecting_; };
    mu_.Await(absl::Condition(&may));
    ++attaching_;
  }
  auto addresses = AttachAlone(request);
  absl::MutexLock lock(&mu_);
  --attaching_;
  return addresses;
}

absl::StatusOr<PodAddresses> CniNetwork::AttachAlone(const PodRequest& request) {
  CniAttachment attachment;
  attachment.pod = request.pod;
  ASSIGN_OR_RETURN(attachment.config, source_.Current());
  ASSIGN_OR_RETURN(attachment.capabilities, CapabilityValues(request));
  ASSIGN_OR_RETURN(attachment.args, CniArgs(request));
  ASSIGN_OR_RETURN(sys::UniqueFd netns, OpenNetns(request.netns_path));
  if (HasAttachment(request.pod)) RETURN_IF_ERROR(Detach(request), "left from an earlier attempt");
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
  ASSIGN_OR_RETURN(std::vector<CniAttachment> found, cache_.Find(request.pod), "CNI cache");
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

// A plugin that a former daemon called before it was killed may still be at work, or hang.
void CniNetwork::EndInherited(const PodId& pod) {
  {
    absl::MutexLock lock(&mu_);
    if (inherited_.erase(pod) == 0) return;
  }
  sys::KillFamily(0, absl::StrCat("CNI_CONTAINERID=", pod.str()));
}

absl::Status CniNetwork::Detach(const PodRequest& request) {
  if (!IsSafeName(request.pod.str())) return absl::InvalidArgumentError("the pod's id is empty or unsafe");
  EndInherited(request.pod);
  ASSIGN_OR_RETURN(std::vector<CniAttachment> attachments, AttachmentsToUndo(request));
  // A plugin given a path that is no longer a namespace fails or, worse, takes its own.
  bool there = !request.netns_path.empty() && OpenNetns(request.netns_path).ok();
  absl::string_view netns = there ? request.netns_path : absl::string_view();
  for (const CniAttachment& attachment : attachments) RETURN_IF_ERROR(Del(attachment, netns));
  return cache_.Remove(request.pod);
}

bool CniNetwork::HasAttachment(const PodId& pod) {
  auto entries = cache_.List();
  if (!entries.ok()) return true;  // nobody knows
  return std::any_of(entries->begin(), entries->end(), [&](const CniCache::Entry& entry) { return entry.pod == pod; });
}

absl::Status CniNetwork::Ask(const CniConfig& config, const CniPlugin& plugin, const char* command) {
  const absl::Duration patience = std::min(options_.plugin_timeout, kAskPatience);
  return Run(config, plugin, {.command = command}, Json::object(), Json(), patience).status();
}

absl::Status CniNetwork::CollectGarbage(const AlivePods& alive) {
  ASSIGN_OR_RETURN(std::vector<CniCache::Entry> entries, cache_.List(), "CNI cache");
  const std::set<PodId> living = alive();
  std::set<PodId> dead;
  for (const CniCache::Entry& entry : entries) {
    if (living.count(entry.pod) == 0) dead.insert(entry.pod);
  }
  absl::Status first;
  for (const PodId& pod : dead) {
    PodRequest request;
    request.pod = pod;
    absl::Status done = Annotate(Detach(request), absl::StrCat("pod ", pod.Short(), ", which is gone"));
    if (first.ok()) first = done;
  }
  absl::Status asked = AskToCollect(alive);
  return first.ok() ? asked : first;
}

absl::Status CniNetwork::AskToCollect(const AlivePods& alive) {
  auto config = source_.Current();
  if (!config.ok() || config->disable_gc || !VersionAtLeast(config->version, "1.1.0")) return absl::OkStatus();
  {
    absl::MutexLock lock(&mu_);
    if (asked_to_collect_) return absl::OkStatus();
    if (attaching_ > 0) return absl::UnavailableError("CNI GC: pods are being attached");
    asked_to_collect_ = collecting_ = true;
  }
  auto collect = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(std::vector<CniCache::Entry> entries, cache_.List(), "CNI cache");
    const std::set<PodId> living = alive();
    Json valid = Json::array();
    for (const CniCache::Entry& entry : entries) {
      if (entry.network != config->name || living.count(entry.pod) == 0) continue;
      valid.push_back({{"containerID", entry.pod.str()}, {"ifname", std::string(kCniInterface)}});
    }
    absl::Status first;
    for (CniPlugin& plugin : config->plugins) {
      plugin.config["cni.dev/valid-attachments"] = valid;
      absl::Status done = Ask(*config, plugin, "GC");
      if (first.ok()) first = done;
    }
    return first;
  };
  absl::Status status = collect();
  absl::MutexLock lock(&mu_);
  collecting_ = false;
  return status;
}

absl::Status CniNetwork::Ready() {
  ASSIGN_OR_RETURN(CniConfig config, source_.Current());
  bool ask = VersionAtLeast(config.version, "1.1.0");
  for (const CniPlugin& plugin : config.plugins) {
    RETURN_IF_ERROR(FindPlugin(plugin.type));
    if (ask) RETURN_IF_ERROR(Ask(config, plugin, "STATUS"));
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

void CniNetwork::Interrupt() {
  ending_ = true;
  (void)eventfd_write(ends_.get(), 1);
}

std::unique_ptr<PodNetwork> NewCniNetwork(CniOptions options) {
  return std::make_unique<CniNetwork>(std::move(options));
}

}  // namespace berth::network
