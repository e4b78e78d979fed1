#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/manifest/parse.h"
#include "cli/manifest/quantity.h"

namespace berth::cli::manifest {
namespace {

constexpr const char* kNoApiServer = "there is no API server to read it from";

// What a fieldRef may name without a cluster.
bool IsKnownField(absl::string_view path) {
  static const std::set<std::string> kFields = {"metadata.name", "metadata.namespace", "metadata.uid",
                                                "status.podIP",  "status.podIPs",      "spec.nodeName"};
  if (kFields.count(std::string(path)) != 0) return true;
  bool keyed = absl::StartsWith(path, "metadata.labels['") || absl::StartsWith(path, "metadata.annotations['");
  return keyed && absl::EndsWith(path, "']");
}

EnvVar ParseEnv(Object& object) {
  EnvVar env;
  env.name = object.Required("name");
  if (absl::StrContains(env.name, '=')) object.Error("name", "must not contain '='");
  env.value = object.String("value");
  if (auto from = object.Map("valueFrom")) {
    if (object.Has("value")) object.Error("valueFrom", "cannot be given together with value");
    if (auto field = from->Map("fieldRef")) {
      field->Choice("apiVersion", {"v1"}, "v1");
      env.field = field->Required("fieldPath");
      if (!env.field.empty() && !IsKnownField(env.field)) {
        field->Error("fieldPath", absl::StrCat("'", env.field, "' is not supported"));
      }
      field->Finish();
    } else if (from->Keys().empty()) {
      from->Error("", "needs fieldRef");
    }
    from->Refuse({"configMapKeyRef", "secretKeyRef"}, kNoApiServer);
    from->Refuse({"resourceFieldRef", "fileKeyRef"}, "");
    from->Finish();
  }
  object.Finish();
  return env;
}

Port ParsePort(Object& object) {
  Port port;
  if (!object.Has("containerPort")) object.Error("containerPort", "must be given");
  port.container_port = static_cast<int>(object.Int("containerPort", 1, 65535).value_or(1));
  port.host_port = static_cast<int>(object.Int("hostPort", 1, 65535).value_or(0));
  port.protocol = object.Choice("protocol", {"TCP", "UDP", "SCTP"}, "TCP");
  port.host_ip = object.String("hostIP");
  if (!port.host_ip.empty() && !IsIpAddress(port.host_ip)) {
    object.Error("hostIP", absl::StrCat("'", port.host_ip, "' is not an IP address"));
  }
  object.Accept({"name"});
  object.Finish();
  return port;
}

std::optional<int64_t> ParseResource(Object& list, const char* key, int64_t scale) {
  std::string text = list.Scalar(key);
  if (text.empty()) return std::nullopt;
  auto value = ParseQuantity(text, scale);
  if (value.ok()) return *value;
  list.Error(key, value.status().message());
  return std::nullopt;
}

void ParseResourceList(Object& resources, const char* key, std::optional<int64_t>& cpu,
                       std::optional<int64_t>& memory) {
  auto list = resources.Map(key);
  if (!list) return;
  cpu = ParseResource(*list, "cpu", 1000);
  memory = ParseResource(*list, "memory", 1);
  list->Warn({"ephemeral-storage"}, "nothing evicts pods here");
  for (const std::string& name : list->Keys()) {
    if (name != "cpu" && name != "memory" && name != "ephemeral-storage") list->Refuse({name.c_str()}, "");
  }
  list->Finish();
}

Resources ParseResources(Object object) {
  Resources resources;
  ParseResourceList(object, "limits", resources.cpu_limit, resources.memory_limit);
  ParseResourceList(object, "requests", resources.cpu_request, resources.memory_request);
  object.Refuse({"claims"}, "");
  if (!resources.cpu_request) resources.cpu_request = resources.cpu_limit;
  if (!resources.memory_request) resources.memory_request = resources.memory_limit;
  if (resources.cpu_limit && *resources.cpu_request > *resources.cpu_limit) {
    object.Error("requests", "cpu is more than its limit");
  }
  if (resources.memory_limit && *resources.memory_request > *resources.memory_limit) {
    object.Error("requests", "memory is more than its limit");
  }
  object.Finish();
  return resources;
}

bool IsSafeSubPath(absl::string_view path) {
  if (absl::StartsWith(path, "/")) return false;
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return false;
  }
  return true;
}

VolumeMount ParseMount(Object& object, const std::set<std::string>& volumes) {
  VolumeMount mount;
  mount.volume = object.Required("name");
  if (!mount.volume.empty() && volumes.count(mount.volume) == 0) {
    object.Error("name", absl::StrCat("no volume '", mount.volume, "' in spec.volumes"));
  }
  mount.path = object.Required("mountPath");
  if (absl::StrContains(mount.path, ':')) object.Error("mountPath", "must not contain ':'");
  if (!mount.path.empty() && !absl::StartsWith(mount.path, "/")) mount.path = "/" + mount.path;
  mount.sub_path = object.String("subPath");
  if (!IsSafeSubPath(mount.sub_path)) object.Error("subPath", "must be relative and must not contain '..'");
  mount.read_only = object.Bool("readOnly").value_or(false);
  if (object.String("recursiveReadOnly", "Disabled") != "Disabled") object.Refuse({"recursiveReadOnly"}, "");
  if (object.String("mountPropagation", "None") != "None") object.Refuse({"mountPropagation"}, "");
  object.Refuse({"subPathExpr"}, "");
  object.Finish();
  return mount;
}

// "Always" without a tag or with :latest, "IfNotPresent" otherwise.
std::string DefaultPullPolicy(absl::string_view image) {
  if (absl::StrContains(image, '@')) return "IfNotPresent";
  absl::string_view last = image.substr(image.rfind('/') + 1);  // npos + 1 is 0
  size_t colon = last.rfind(':');
  bool latest = colon == absl::string_view::npos || last.substr(colon + 1) == "latest";
  return latest ? "Always" : "IfNotPresent";
}

}  // namespace

Container ParseContainer(Object& object, const std::set<std::string>& volumes, bool init) {
  Container container;
  container.name = object.Required("name");
  if (!container.name.empty() && !IsDnsLabel(container.name)) {
    object.Error("name", absl::StrCat("'", container.name, "' is not a name of [a-z0-9-] and at most 63 characters"));
  }
  container.image = object.Required("image");
  if (container.image.find_first_of(" \t\r\n") != std::string::npos) object.Error("image", "must not contain spaces");
  container.pull_policy =
      object.Choice("imagePullPolicy", {"Always", "IfNotPresent", "Never"}, DefaultPullPolicy(container.image));
  container.command = object.StringList("command");
  container.args = object.StringList("args");
  container.working_dir = object.String("workingDir");
  for (Object& env : object.MapList("env")) container.env.push_back(ParseEnv(env));
  for (Object& port : object.MapList("ports")) container.ports.push_back(ParsePort(port));
  if (auto resources = object.Map("resources")) container.resources = ParseResources(*resources);
  std::set<std::string> paths;
  for (Object& mount : object.MapList("volumeMounts")) {
    container.mounts.push_back(ParseMount(mount, volumes));
    if (!paths.insert(container.mounts.back().path).second) mount.Error("mountPath", "is used twice");
  }
  container.stdin = object.Bool("stdin").value_or(false);
  container.stdin_once = object.Bool("stdinOnce").value_or(false);
  container.tty = object.Bool("tty").value_or(false);
  if (auto security = object.Map("securityContext")) ParseContainerSecurity(*security, container);

  object.Refuse({"envFrom"}, kNoApiServer);
  object.Refuse({"lifecycle", "volumeDevices", "resizePolicy", "restartPolicyRules"}, "");
  object.Refuse({"restartPolicy"}, init ? "sidecar containers need a controller" : "");
  if (init) {
    object.Refuse({"livenessProbe", "readinessProbe", "startupProbe"}, "init containers have no probes");
  } else {
    object.Warn({"livenessProbe", "readinessProbe", "startupProbe"}, "berth run does not probe");
  }
  object.Accept({"terminationMessagePath", "terminationMessagePolicy"});
  object.Finish();
  return container;
}

}  // namespace berth::cli::manifest
