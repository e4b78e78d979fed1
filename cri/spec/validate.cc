#include "cri/spec/validate.h"

#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "cri/spec/annotations.h"
#include "cri/spec/confinement.h"
#include "cri/spec/mount_attrs.h"
#include "cri/spec/process.h"
#include "cri/spec/resources.h"
#include "cri/spec/shm_size.h"
#include "cri/spec/sysctls.h"
#include "cri/spec/volume_paths.h"
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

// The words alone: what the policy knows is asked where the label is made.
absl::Status ValidateSelinux(const state::v1::SelinuxOptions& options) {
  absl::Status status = security::CheckSelinuxParts(ToSelinuxContext(options));
  return status.ok() ? status : Invalid("selinux_options.", status.message());
}

absl::Status ValidateProfiles(const state::v1::Security& s) {
  if (s.seccomp().kind() == state::v1::SeccompProfile::LOCALHOST) {
    RETURN_IF_ERROR(ValidatePath("seccomp.localhost_ref", s.seccomp().path()));
  } else if (!s.seccomp().path().empty()) {
    return Invalid("seccomp.localhost_ref: given with a profile that is not Localhost");
  }
  const std::string& name = s.apparmor().name();
  if (s.apparmor().kind() != state::v1::AppArmorProfile::LOCALHOST) {
    return name.empty() ? absl::OkStatus()
                        : Invalid("apparmor.localhost_ref: given with a profile that is not Localhost");
  }
  if (name.empty()) return Invalid("apparmor.localhost_ref: is empty");
  return HasControlBytes(name) ? Invalid("apparmor.localhost_ref: holds control characters") : absl::OkStatus();
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

absl::Status ValidateBind(const state::v1::Mount& m) {
  RETURN_IF_ERROR(ValidatePath("mounts.host_path", m.host_path()));
  if (!m.image_sub_path().empty()) return Invalid("mounts.image_sub_path: given without an image");
  return absl::OkStatus();
}

// Covering a path that the host shares would cover it on the host.
absl::Status ValidateCovered(absl::string_view field, absl::string_view path, const state::v1::ContainerSpec& spec) {
  absl::string_view shared = SharedMountAbove(spec, path);
  if (shared.empty()) return absl::OkStatus();
  return Invalid(field, ": '", path, "' lies in the BIDIRECTIONAL mount '", shared, "'");
}

absl::Status ValidateMount(const state::v1::Mount& m) {
  RETURN_IF_ERROR(ValidatePath("mounts.container_path", m.container_path()));
  if (HasDotDot(m.container_path())) return Invalid("mounts.container_path: '", m.container_path(), "' holds '..'");
  RETURN_IF_ERROR(m.image().empty() ? ValidateBind(m) : ValidateImageVolume(m));
  if (m.recursive_readonly() && !m.readonly()) {
    return Invalid("mounts.recursive_read_only: '", m.container_path(), "' is not readonly");
  }
  if (m.recursive_readonly() && m.propagation() != state::v1::Mount::PRIVATE) {
    return Invalid("mounts.recursive_read_only: '", m.container_path(), "' needs private propagation");
  }
  return MountAttrs(m).status();
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
  RETURN_IF_ERROR(ValidateSysctls(spec));
  RETURN_IF_ERROR(ShmSize(spec));
  for (const auto* list : {&spec.dns().servers(), &spec.dns().searches(), &spec.dns().options()}) {
    for (const std::string& s : *list) {
      if (HasControlBytes(s)) return Invalid("dns_config: '", s, "' holds control characters");
    }
  }
  RETURN_IF_ERROR(ValidateSelinux(spec.selinux()));
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
  RETURN_IF_ERROR(ValidateResources(spec.resources()), "linux.resources");
  for (const auto& m : spec.mounts()) RETURN_IF_ERROR(ValidateMount(m));
  RETURN_IF_ERROR(ValidateDevices(spec));
  if (!s.privileged()) {
    for (const std::string& p : s.masked_paths()) RETURN_IF_ERROR(ValidateCovered("masked_paths", p, spec));
    for (const std::string& p : s.readonly_paths()) RETURN_IF_ERROR(ValidateCovered("readonly_paths", p, spec));
  }
  if (s.namespaces().pid() == state::v1::TARGET && s.namespaces().target_id().empty()) {
    return Invalid("namespace_options.target_id: is empty with pid TARGET");
  }
  RETURN_IF_ERROR(ValidateProfiles(s));
  RETURN_IF_ERROR(ValidateSelinux(s.selinux()));
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

absl::Status ValidateSandboxSecurity(const state::v1::Security& s) {
  RETURN_IF_ERROR(ValidateIdentity(s));
  return ValidateProfiles(s);
}

}  // namespace berth::spec
