#include <arpa/inet.h>

#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/manifest/parse.h"

namespace berth::cli::manifest {
namespace {

constexpr const char* kNoApiServer = "there is no API server to read it from";

Volume ParseVolume(Object& object) {
  Volume volume;
  volume.name = object.Required("name");
  if (!volume.name.empty() && !IsDnsLabel(volume.name)) {
    object.Error("name", absl::StrCat("'", volume.name, "' is not a name of [a-z0-9-] and at most 63 characters"));
  }
  auto host_path = object.Map("hostPath");
  auto empty_dir = object.Map("emptyDir");
  if (empty_dir) {
    volume.empty_dir = true;
    if (empty_dir->String("medium") != "") {
      empty_dir->Error("medium", "not supported: emptyDir volumes are directories on the host's disk");
    }
    if (!empty_dir->Scalar("sizeLimit").empty())
      empty_dir->Note("sizeLimit", "has no effect: nothing evicts pods here");
    empty_dir->Finish();
  }
  if (host_path) {
    volume.host_path = host_path->Required("path");
    if (!volume.host_path.empty() && !IsCleanAbsolutePath(volume.host_path)) {
      host_path->Error("path", "must be absolute and must not contain '..'");
    }
    volume.host_path_type = host_path->Choice(
        "type", {"", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"},
        "");
    host_path->Finish();
  }
  if (host_path && empty_dir) object.Error("", "emptyDir and hostPath exclude each other");
  bool other = false;
  for (const std::string& key : object.Keys()) {
    if (key == "name" || key == "emptyDir" || key == "hostPath" || !object.Has(key)) continue;
    other = true;
    bool of_cluster = key == "configMap" || key == "secret" || key == "downwardAPI" || key == "projected" ||
                      key == "persistentVolumeClaim";
    object.Refuse({key.c_str()}, of_cluster ? kNoApiServer : "volumes are emptyDir or hostPath");
  }
  // Kubernetes makes a volume without a source an emptyDir; an `emptyDir:` with nothing behind it
  // is the same.
  if (!host_path && !other) volume.empty_dir = true;
  object.Finish();
  return volume;
}

void ParseMetadata(Object object, Pod& pod) {
  pod.name = object.Required("name");
  if (!pod.name.empty() && !IsDnsSubdomain(pod.name)) {
    object.Error("name", absl::StrCat("'", pod.name, "' is not a name of [a-z0-9.-] and at most 253 characters"));
  }
  pod.ns = object.String("namespace", "default");
  if (!IsDnsLabel(pod.ns)) object.Error("namespace", absl::StrCat("'", pod.ns, "' is not a name of [a-z0-9-]"));
  pod.labels = object.StringMap("labels");
  pod.annotations = object.StringMap("annotations");
  object.Refuse({"generateName"}, "give the pod a name");
  // What an API server adds: files written by `kubectl get -o yaml` have them.
  object.Accept({"uid", "creationTimestamp", "resourceVersion", "generation", "managedFields", "ownerReferences",
                 "selfLink", "finalizers"});
  object.Finish();
}

Dns ParseDns(Object object) {
  Dns dns;
  dns.servers = object.StringList("nameservers");
  for (const std::string& server : dns.servers) {
    if (!IsIpAddress(server)) object.Error("nameservers", absl::StrCat("'", server, "' is not an IP address"));
  }
  dns.searches = object.StringList("searches");
  for (Object& option : object.MapList("options")) {
    std::string name = option.Required("name");
    std::string value = option.String("value");
    dns.options.push_back(value.empty() ? name : absl::StrCat(name, ":", value));
    option.Finish();
  }
  object.Finish();
  return dns;
}

void ParseContainers(Object& spec, Pod& pod) {
  std::set<std::string> volumes;
  for (Object& object : spec.MapList("volumes")) {
    pod.volumes.push_back(ParseVolume(object));
    if (!volumes.insert(pod.volumes.back().name).second) object.Error("name", "is used twice");
  }
  std::set<std::string> names;
  std::set<std::string> host_ports;
  for (const char* key : {"initContainers", "containers"}) {
    bool init = absl::string_view(key) == "initContainers";
    for (Object& object : spec.MapList(key)) {
      Container container = ParseContainer(object, volumes, init);
      if (!names.insert(container.name).second) object.Error("name", "is used twice");
      for (const Port& port : container.ports) {
        std::string taken = absl::StrCat(port.protocol, " ", port.host_ip, ":", port.host_port);
        if (port.host_port != 0 && !host_ports.insert(taken).second) {
          object.Error("ports", absl::StrCat("host port ", port.host_port, " is used twice"));
        }
        if (pod.host_network && port.host_port != 0 && port.host_port != port.container_port) {
          object.Error("ports", "with hostNetwork, hostPort must equal containerPort");
        }
      }
      (init ? pod.init_containers : pod.containers).push_back(std::move(container));
    }
  }
  if (pod.containers.empty()) spec.Error("", "containers: at least one must be given");
}

void ParseSpec(Object spec, Pod& pod) {
  pod.hostname = spec.String("hostname");
  if (!pod.hostname.empty() && !IsDnsLabel(pod.hostname)) {
    spec.Error("hostname", absl::StrCat("'", pod.hostname, "' is not a name of [a-z0-9-] and at most 63 characters"));
  }
  pod.host_network = spec.Bool("hostNetwork").value_or(false);
  pod.host_pid = spec.Bool("hostPID").value_or(false);
  pod.host_ipc = spec.Bool("hostIPC").value_or(false);
  pod.share_process_namespace = spec.Bool("shareProcessNamespace").value_or(false);
  if (pod.host_pid && pod.share_process_namespace) {
    spec.Error("shareProcessNamespace", "cannot be given together with hostPID");
  }
  std::string policy =
      spec.Choice("dnsPolicy", {"Default", "ClusterFirst", "ClusterFirstWithHostNet", "None"}, "ClusterFirst");
  pod.dns_policy = policy == "None" ? "None" : "Default";
  if (auto dns = spec.Map("dnsConfig")) pod.dns = ParseDns(*dns);
  if (policy == "None" && pod.dns.servers.empty()) spec.Error("dnsPolicy", "None needs dnsConfig.nameservers");
  std::string restart = spec.Choice("restartPolicy", {"Always", "OnFailure", "Never"}, "Never");
  if (restart != "Never") spec.Note("restartPolicy", "has no effect: berth run starts containers once");
  pod.runtime_handler = spec.String("runtimeClassName");
  pod.grace_seconds = spec.Int("terminationGracePeriodSeconds", 0, 86400 * 365).value_or(30);
  if (auto security = spec.Map("securityContext")) ParsePodSecurity(*security, pod);
  ParseContainers(spec, pod);

  spec.Warn({"nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "schedulerName", "nodeName",
             "priority", "priorityClassName", "preemptionPolicy", "schedulingGates", "readinessGates",
             "serviceAccountName", "serviceAccount", "activeDeadlineSeconds"},
            "there is no cluster");
  spec.Refuse({"imagePullSecrets"}, "pull the image first with berth pull --username");
  spec.Refuse({"ephemeralContainers", "hostAliases", "subdomain", "setHostnameAsFQDN", "hostUsers", "overhead",
               "resources", "resourceClaims", "hostnameOverride"},
              "");
  spec.Accept({"automountServiceAccountToken", "enableServiceLinks", "os"});
  spec.Finish();
}

}  // namespace

bool IsDnsLabel(absl::string_view name) {
  if (name.empty() || name.size() > 63 || name.front() == '-' || name.back() == '-') return false;
  for (char c : name) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-') return false;
  }
  return true;
}

bool IsDnsSubdomain(absl::string_view name) {
  if (name.size() > 253) return false;
  for (absl::string_view part : absl::StrSplit(name, '.')) {
    if (!IsDnsLabel(part)) return false;
  }
  return true;
}

bool IsIpAddress(absl::string_view text) {
  in6_addr address;
  std::string zero_ended(text);
  return inet_pton(AF_INET, zero_ended.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, zero_ended.c_str(), &address) == 1;
}

bool IsCleanAbsolutePath(absl::string_view path) {
  if (!absl::StartsWith(path, "/")) return false;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return false;
  }
  return true;
}

Pod ParsePod(Object& object) {
  Pod pod;
  object.Accept({"apiVersion", "kind", "status"});
  for (const char* key : {"metadata", "spec"}) {
    if (!object.Has(key)) object.Error(key, "must be given");
  }
  if (auto metadata = object.Map("metadata")) ParseMetadata(*metadata, pod);
  if (auto spec = object.Map("spec")) ParseSpec(*spec, pod);
  object.Finish();
  return pod;
}

}  // namespace berth::cli::manifest
