#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/manifest/parse.h"

namespace berth::cli::manifest {
namespace {

constexpr int64_t kMaxId = INT32_MAX;

std::optional<Profile> ParseProfile(Object& parent, absl::string_view key) {
  auto object = parent.Map(key);
  if (!object) return std::nullopt;
  Profile profile;
  object->Required("type");
  profile.type = object->Choice("type", {"RuntimeDefault", "Unconfined", "Localhost"}, "RuntimeDefault");
  profile.localhost = object->String("localhostProfile");
  bool local = profile.type == "Localhost";
  if (local && profile.localhost.empty()) object->Error("", "type Localhost needs localhostProfile");
  if (!local && !profile.localhost.empty()) object->Error("localhostProfile", "only goes with type Localhost");
  bool path = key == "seccompProfile";
  if (local && path && (absl::StartsWith(profile.localhost, "/") || absl::StrContains(profile.localhost, ".."))) {
    object->Error("localhostProfile", "must be a path below the directory of seccomp profiles");
  }
  object->Finish();
  return profile;
}

void ParseIdentity(Object& object, Identity& identity) {
  identity.user = object.Int("runAsUser", 0, kMaxId);
  identity.group = object.Int("runAsGroup", 0, kMaxId);
  identity.non_root = object.Bool("runAsNonRoot");
  identity.seccomp = ParseProfile(object, "seccompProfile");
  identity.apparmor = ParseProfile(object, "appArmorProfile");
  if (auto selinux = object.Map("seLinuxOptions")) {
    identity.selinux =
        SeLinux{selinux->String("user"), selinux->String("role"), selinux->String("type"), selinux->String("level")};
    selinux->Finish();
  }
  object.Refuse({"windowsOptions"}, "berth runs Linux containers");
  if (identity.non_root.value_or(false) && identity.user == 0) {
    object.Error("runAsUser", "is root, which runAsNonRoot forbids");
  }
}

std::vector<std::string> ParseCapabilities(Object& object, absl::string_view key) {
  std::vector<std::string> names = object.StringList(key);
  for (const std::string& name : names) {
    if (absl::StartsWithIgnoreCase(name, "CAP_")) {
      object.Error(key, absl::StrCat("write ", name.substr(4), " for ", name));
    }
  }
  return names;
}

bool Adds(const Container& container, absl::string_view capability) {
  for (const std::string& name : container.add_capabilities) {
    if (absl::EqualsIgnoreCase(name, capability)) return true;
  }
  return false;
}

}  // namespace

void ParsePodSecurity(Object object, Pod& pod) {
  ParseIdentity(object, pod.identity);
  pod.fs_group = object.Int("fsGroup", 0, kMaxId);
  object.Choice("fsGroupChangePolicy", {"Always", "OnRootMismatch"}, "Always");
  pod.supplemental_groups = object.IntList("supplementalGroups", 0, kMaxId);
  pod.strict_groups = object.Choice("supplementalGroupsPolicy", {"Merge", "Strict"}, "Merge") == "Strict";
  object.Refuse({"seLinuxChangePolicy"}, "");
  for (Object& sysctl : object.MapList("sysctls")) {
    std::string name = sysctl.Required("name");
    pod.sysctls[name] = sysctl.Required("value");
    sysctl.Finish();
  }
  object.Finish();
}

void ParseContainerSecurity(Object object, Container& container) {
  ParseIdentity(object, container.identity);
  container.privileged = object.Bool("privileged").value_or(false);
  container.read_only_root = object.Bool("readOnlyRootFilesystem").value_or(false);
  container.allow_privilege_escalation = object.Bool("allowPrivilegeEscalation");
  container.unmasked_proc = object.Choice("procMount", {"Default", "Unmasked"}, "Default") == "Unmasked";
  if (auto capabilities = object.Map("capabilities")) {
    container.add_capabilities = ParseCapabilities(*capabilities, "add");
    container.drop_capabilities = ParseCapabilities(*capabilities, "drop");
    capabilities->Finish();
  }
  if (container.allow_privilege_escalation == false && container.privileged) {
    object.Error("allowPrivilegeEscalation", "cannot be false for a privileged container");
  }
  if (container.allow_privilege_escalation == false && Adds(container, "SYS_ADMIN")) {
    object.Error("allowPrivilegeEscalation", "cannot be false together with the capability SYS_ADMIN");
  }
  object.Finish();
}

}  // namespace berth::cli::manifest
