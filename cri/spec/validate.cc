#include "cri/spec/validate.h"

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "cri/spec/annotations.h"
#include "cri/spec/id_mapping.h"
#include "cri/spec/mount_attrs.h"
#include "cri/spec/process.h"
#include "cri/spec/shm_size.h"
#include "cri/spec/sysctls.h"
#include "runtime/base/id.h"

namespace berth::spec {
namespace {

using state::v1::Namespaces;

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

bool HasControlBytes(absl::string_view s) {
  for (unsigned char c : s) {
    if (c < 0x20 || c == 0x7f) return true;
  }
  return false;
}

bool HasDotDot(absl::string_view path) {
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return true;
  }
  return false;
}

absl::Status ValidatePath(absl::string_view field, absl::string_view path) {
  if (!absl::StartsWith(path, "/")) return Invalid(field, ": '", path, "' is not an absolute path");
  if (path.find('\0') != absl::string_view::npos) return Invalid(field, ": holds a NUL byte");
  if (path.size() > 4095) return Invalid(field, ": longer than 4095 bytes");
  return absl::OkStatus();
}

absl::Status ValidatePorts(const state::v1::PodSpec& spec) {
  std::set<std::tuple<int, int, std::string>> seen;
  for (const auto& p : spec.ports()) {
    if (p.host_port() <= 0) continue;
    if (p.host_port() > 65535) return Invalid("port_mappings.host_port: ", p.host_port(), " is not a port");
    if (p.container_port() < 1 || p.container_port() > 65535) {
      return Invalid("port_mappings.container_port: ", p.container_port(), " is not a port");
    }
    if (!seen.insert({p.protocol(), p.host_port(), p.host_ip()}).second) {
      return Invalid("port_mappings.host_port: ", p.host_port(), " is given twice");
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateIdentity(const state::v1::Security& s) {
  constexpr int64_t kMax = 0x7fffffff;
  bool has_user = s.has_run_as_user() || !s.run_as_username().empty();
  if (s.has_run_as_user() && !s.run_as_username().empty())
    return Invalid("run_as_username: given together with run_as_user");
  if (s.has_run_as_group() && !has_user) return Invalid("run_as_group: given without run_as_user or run_as_username");
  if (s.has_run_as_user() && (s.run_as_user() < 0 || s.run_as_user() > kMax))
    return Invalid("run_as_user: ", s.run_as_user(), " is out of range");
  if (s.has_run_as_group() && (s.run_as_group() < 0 || s.run_as_group() > kMax)) {
    return Invalid("run_as_group: ", s.run_as_group(), " is out of range");
  }
  for (int64_t g : s.supplemental_groups()) {
    if (g < 0 || g > kMax) return Invalid("supplemental_groups: ", g, " is out of range");
  }
  return absl::OkStatus();
}

// What the kubelet's API server refuses as well: the host's processes and IPC objects belong to a user namespace in
// which root of the pod's is nobody, so that not even /proc could be mounted.
absl::Status ValidateUserNamespace(const Namespaces& ns) {
  if (ns.uids().empty() && ns.gids().empty()) return absl::OkStatus();
  RETURN_IF_ERROR(ValidateIdMappings("namespace_options.userns_options.uids", ns.uids()));
  RETURN_IF_ERROR(ValidateIdMappings("namespace_options.userns_options.gids", ns.gids()));
  if (ns.uids_size() != 1 || ns.gids_size() != 1) {
    return Invalid("namespace_options.userns_options: takes exactly one entry of uids and one of gids");
  }
  if (!SameMappings(ns.uids(), ns.gids())) {
    return Invalid("namespace_options.userns_options: uids and gids are not the same");
  }
  if (ns.uids(0).container_id() != 0) {
    return Invalid("namespace_options.userns_options.uids.container_id: must be 0, so that root is mapped");
  }
  if (ns.pid() == state::v1::NODE)
    return Invalid("namespace_options.pid: NODE together with a user namespace of the pod's");
  if (ns.ipc() == state::v1::NODE)
    return Invalid("namespace_options.ipc: NODE together with a user namespace of the pod's");
  return absl::OkStatus();
}

absl::Status ValidateUserNamespaceOf(const state::v1::ContainerSpec& spec, const state::v1::PodSpec& pod) {
  const Namespaces& own = spec.security().namespaces();
  for (const auto& m : spec.mounts()) {
    // The files of an image are mounted as the pod's user namespace sees them, or as they are.
    if (m.image().empty() || m.uid_mappings().empty()) continue;
    if (SameMappings(m.uid_mappings(), pod.namespaces().uids()) &&
        SameMappings(m.gid_mappings(), pod.namespaces().gids())) {
      continue;
    }
    return Invalid("mounts.uidMappings: '", m.container_path(),
                   "' is an image and has mappings that are not the pod's");
  }
  if (!SameMappings(own.uids(), pod.namespaces().uids()) || !SameMappings(own.gids(), pod.namespaces().gids())) {
    return Invalid("namespace_options.userns_options: is not that of the pod sandbox");
  }
  if (!HasUserNamespace(pod)) return absl::OkStatus();
  if (own.pid() == state::v1::NODE)
    return Invalid("namespace_options.pid: NODE together with a user namespace of the pod's");
  for (const auto& m : spec.mounts()) {
    // What the container mounts there would be mounted on the host too, with rights that it does not have.
    if (m.propagation() == state::v1::Mount::BIDIRECTIONAL) {
      return Invalid("mounts.propagation: '", m.container_path(),
                     "': BIDIRECTIONAL together with a user namespace of the pod's");
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateMappingsOf(const state::v1::Mount& m) {
  RETURN_IF_ERROR(ValidateIdMappings("mounts.uidMappings", m.uid_mappings()));
  RETURN_IF_ERROR(ValidateIdMappings("mounts.gidMappings", m.gid_mappings()));
  if (m.uid_mappings().empty() == m.gid_mappings().empty()) return absl::OkStatus();
  return Invalid(m.uid_mappings().empty() ? "mounts.uidMappings" : "mounts.gidMappings", ": '", m.container_path(),
                 "' has only the other one");
}

absl::Status ValidateImageVolume(const state::v1::Mount& m) {
  if (!m.host_path().empty()) return Invalid("mounts.host_path: '", m.host_path(), "' is given together with an image");
  if (!m.readonly()) return Invalid("mounts.readonly: '", m.container_path(), "' is an image and must be readonly");
  if (m.propagation() != state::v1::Mount::PRIVATE) {
    return Invalid("mounts.propagation: '", m.container_path(), "' is an image, which is private");
  }
  const std::string& sub_path = m.image_sub_path();
  if (absl::StartsWith(sub_path, "/")) return Invalid("mounts.image_sub_path: '", sub_path, "' is not relative");
  if (HasDotDot(sub_path)) return Invalid("mounts.image_sub_path: '", sub_path, "' holds '..'");
  if (sub_path.size() > 4095 || absl::StrContains(sub_path, '\0')) {
    return Invalid("mounts.image_sub_path: is longer than 4095 bytes or holds a NUL byte");
  }
  return absl::OkStatus();
}

absl::Status ValidateBind(const state::v1::Mount& m) {
  RETURN_IF_ERROR(ValidatePath("mounts.host_path", m.host_path()));
  if (!m.image_sub_path().empty()) return Invalid("mounts.image_sub_path: given without an image");
  return absl::OkStatus();
}

absl::Status ValidateMount(const state::v1::Mount& m) {
  RETURN_IF_ERROR(ValidatePath("mounts.container_path", m.container_path()));
  if (HasDotDot(m.container_path())) return Invalid("mounts.container_path: '", m.container_path(), "' holds '..'");
  RETURN_IF_ERROR(ValidateMappingsOf(m));
  RETURN_IF_ERROR(m.image().empty() ? ValidateBind(m) : ValidateImageVolume(m));
  if (m.recursive_readonly() && !m.readonly()) {
    return Invalid("mounts.recursive_read_only: '", m.container_path(), "' is not readonly");
  }
  if (m.recursive_readonly() && m.propagation() != state::v1::Mount::PRIVATE) {
    return Invalid("mounts.recursive_read_only: '", m.container_path(), "' needs private propagation");
  }
  return MountAttrs(m).status();
}

absl::Status ValidateDevices(const state::v1::ContainerSpec& spec) {
  for (const auto& d : spec.devices()) {
    RETURN_IF_ERROR(ValidatePath("devices.host_path", d.host_path()));
    if (!d.container_path().empty()) {
      RETURN_IF_ERROR(ValidatePath("devices.container_path", d.container_path()));
      if (HasDotDot(d.container_path())) return Invalid("devices.container_path: holds '..'");
    }
    if (d.permissions().find_first_not_of("rwm") != std::string::npos) {
      return Invalid("devices.permissions: '", d.permissions(), "' is not of the letters r, w and m");
    }
  }
  return CdiDevicesOf(spec).status();
}

}  // namespace

absl::Status ValidatePod(const state::v1::PodSpec& spec) {
  if (spec.name().empty()) return Invalid("metadata.name: is empty");
  for (const auto& [field, value] : {std::pair<const char*, absl::string_view>{"metadata.name", spec.name()},
                                     {"metadata.namespace", spec.namespace_()},
                                     {"metadata.uid", spec.uid()},
                                     {"hostname", spec.hostname()}}) {
    if (HasControlBytes(value) || absl::StrContains(value, '/'))
      return Invalid(field, ": holds '/' or control characters");
  }
  if (spec.hostname().size() > 64) return Invalid("hostname: longer than 64 bytes");
  if (!spec.log_directory().empty()) {
    RETURN_IF_ERROR(ValidatePath("log_directory", spec.log_directory()));
    if (HasDotDot(spec.log_directory())) return Invalid("log_directory: holds '..'");
  }
  const Namespaces& ns = spec.namespaces();
  if (ns.network() != state::v1::POD && ns.network() != state::v1::NODE)
    return Invalid("namespace_options.network: must be POD or NODE");
  if (ns.pid() == state::v1::TARGET) return Invalid("namespace_options.pid: TARGET is for containers");
  if (ns.ipc() == state::v1::TARGET) return Invalid("namespace_options.ipc: must be POD or NODE");
  RETURN_IF_ERROR(ValidateUserNamespace(ns));
  RETURN_IF_ERROR(ValidateSysctls(spec));
  RETURN_IF_ERROR(ShmSize(spec));
  const std::string& parent = spec.cgroup_parent();
  if (absl::EndsWith(parent, ".slice")) {
    return Invalid("linux.cgroup_parent: '", parent, "' is a systemd slice, but the cgroup driver is cgroupfs");
  }
  if (!parent.empty() && (!absl::StartsWith(parent, "/") || HasDotDot(parent))) {
    return Invalid("linux.cgroup_parent: '", parent, "' is not an absolute path");
  }
  for (const auto* list : {&spec.dns().servers(), &spec.dns().searches(), &spec.dns().options()}) {
    for (const std::string& s : *list) {
      if (HasControlBytes(s)) return Invalid("dns_config: '", s, "' holds control characters");
    }
  }
  return ValidatePorts(spec);
}

absl::Status ValidateContainer(const state::v1::ContainerSpec& spec, const state::v1::PodSpec& pod) {
  if (spec.name().empty()) return Invalid("metadata.name: is empty");
  if (HasControlBytes(spec.name()) || absl::StrContains(spec.name(), '/'))
    return Invalid("metadata.name: holds '/' or control characters");
  if (spec.image().empty()) return Invalid("image.image: is empty");
  const state::v1::Security& s = spec.security();
  if (s.privileged() && !pod.privileged()) {
    return Invalid("security_context.privileged: the pod sandbox was not made privileged");
  }
  RETURN_IF_ERROR(ValidateIdentity(s));
  for (const auto& m : spec.mounts()) RETURN_IF_ERROR(ValidateMount(m));
  RETURN_IF_ERROR(ValidateUserNamespaceOf(spec, pod));
  RETURN_IF_ERROR(ValidateDevices(spec));
  if (s.namespaces().pid() == state::v1::TARGET && s.namespaces().target_id().empty()) {
    return Invalid("namespace_options.target_id: is empty with pid TARGET");
  }
  if (s.seccomp().kind() == state::v1::SeccompProfile::LOCALHOST) {
    RETURN_IF_ERROR(ValidatePath("seccomp.localhost_ref", s.seccomp().path()));
  } else if (!s.seccomp().path().empty()) {
    return Invalid("seccomp.localhost_ref: given with a profile that is not Localhost");
  }
  if (!spec.working_dir().empty()) RETURN_IF_ERROR(ValidatePath("working_dir", spec.working_dir()));
  if (!spec.log_path().empty() &&
      (HasDotDot(spec.log_path()) || absl::StartsWith(spec.log_path(), "/") || HasControlBytes(spec.log_path()))) {
    return Invalid("log_path: '", spec.log_path(), "' is not a path beneath the log directory");
  }
  for (const auto& e : spec.envs()) {
    if (e.key().empty() || absl::StrContains(e.key(), '=') || absl::StrContains(e.key(), '\0'))
      return Invalid("envs.key: '", e.key(), "' is not a name");
    if (absl::StrContains(e.value(), '\0')) return Invalid("envs.value: of ", e.key(), " holds a NUL byte");
  }
  RETURN_IF_ERROR(ParseSignal(spec.stop_signal()));
  return absl::OkStatus();
}

}  // namespace berth::spec
