#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "cri/service/convert.h"
#include "cri/spec/validate.h"

namespace berth::service {
namespace {

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }
absl::Status ToUserNamespace(const v1::UserNamespace& in, state::v1::Namespaces& out) {
  if (in.mode() == v1::NODE) {
    if (in.uids_size() + in.gids_size() > 0) return Invalid("userns_options: mode NODE together with mappings");
    return absl::OkStatus();
  }
  if (in.mode() != v1::POD) return Invalid("userns_options.mode: must be POD or NODE");
  if (in.uids_size() != 1 || in.gids_size() != 1) {
    return Invalid("userns_options: mode POD takes exactly one entry of uids and one of gids");
  }
  AddMappings(in.uids(), *out.mutable_uids());
  AddMappings(in.gids(), *out.mutable_gids());
  return absl::OkStatus();
}

absl::Status ToNamespaces(const v1::NamespaceOption& in, state::v1::Namespaces& out) {
  for (auto [field, mode] :
       {std::pair<const char*, v1::NamespaceMode>{"network", in.network()}, {"pid", in.pid()}, {"ipc", in.ipc()}}) {
    if (!v1::NamespaceMode_IsValid(mode))
      return Invalid(absl::StrCat("namespace_options.", field, ": ", mode, " is not a mode"));
  }
  if (in.has_userns_options()) RETURN_IF_ERROR(ToUserNamespace(in.userns_options(), out), "namespace_options");
  out.set_network(static_cast<state::v1::NamespaceMode>(in.network()));
  out.set_pid(static_cast<state::v1::NamespaceMode>(in.pid()));
  out.set_ipc(static_cast<state::v1::NamespaceMode>(in.ipc()));
  out.set_target_id(in.target_id());
  return absl::OkStatus();
}

// Sets the kind of a profile that is given as a message, or as the word that it was before. Returns what it is of: the
// file or the name of a LOCALHOST one. With neither the kind stays.
template <typename Profile>
absl::StatusOr<std::string> ToProfile(const v1::SecurityProfile* profile, absl::string_view field,
                                      absl::string_view word, absl::string_view word_field, Profile& out) {
  if (profile != nullptr) {
    switch (profile->profile_type()) {
      case v1::SecurityProfile::RuntimeDefault:
        out.set_kind(Profile::RUNTIME_DEFAULT);
        break;
      case v1::SecurityProfile::Unconfined:
        out.set_kind(Profile::UNCONFINED);
        break;
      case v1::SecurityProfile::Localhost:
        out.set_kind(Profile::LOCALHOST);
        break;
      default:
        return Invalid(absl::StrCat(field, ".profile_type: is not a type"));
    }
    return profile->localhost_ref();
  }
  if (word.empty()) return std::string();
  if (word == "runtime/default" || word == "docker/default") {
    out.set_kind(Profile::RUNTIME_DEFAULT);
  } else if (word == "unconfined") {
    out.set_kind(Profile::UNCONFINED);
  } else if (absl::ConsumePrefix(&word, "localhost/")) {
    out.set_kind(Profile::LOCALHOST);
    return std::string(word);
  } else {
    return Invalid(absl::StrCat(word_field, ": '", word, "' is not a profile"));
  }
  return std::string();
}

// Neither: unconfined.
absl::Status ToSeccomp(const v1::LinuxContainerSecurityContext& in, state::v1::SeccompProfile& out) {
  ASSIGN_OR_RETURN(std::string path, ToProfile(in.has_seccomp() ? &in.seccomp() : nullptr, "seccomp",
                                               in.seccomp_profile_path(), "seccomp_profile_path", out));
  out.set_path(path);
  return absl::OkStatus();
}

// Neither: the default profile where the host has AppArmor.
absl::Status ToAppArmor(const v1::LinuxContainerSecurityContext& in, state::v1::AppArmorProfile& out) {
  ASSIGN_OR_RETURN(std::string name, ToProfile(in.has_apparmor() ? &in.apparmor() : nullptr, "apparmor",
                                               in.apparmor_profile(), "apparmor_profile", out));
  // "localhost/NAME" is how the older field spells it, and some clients fill the newer one so.
  out.set_name(std::string(absl::StripPrefix(name, "localhost/")));
  return absl::OkStatus();
}

void ToSelinux(const v1::SELinuxOption& in, state::v1::SelinuxOptions& out) {
  out.set_user(in.user());
  out.set_role(in.role());
  out.set_type(in.type());
  out.set_level(in.level());
}

absl::Status ToSecurity(const v1::LinuxContainerSecurityContext& in, state::v1::Security& out) {
  const v1::Capability& caps = in.capabilities();
  *out.mutable_add_capabilities() = caps.add_capabilities();
  *out.mutable_drop_capabilities() = caps.drop_capabilities();
  *out.mutable_add_ambient_capabilities() = caps.add_ambient_capabilities();
  out.set_privileged(in.privileged());
  RETURN_IF_ERROR(ToNamespaces(in.namespace_options(), *out.mutable_namespaces()));
  if (in.has_run_as_user()) out.set_run_as_user(in.run_as_user().value());
  if (in.has_run_as_group()) out.set_run_as_group(in.run_as_group().value());
  out.set_run_as_username(in.run_as_username());
  *out.mutable_supplemental_groups() = in.supplemental_groups();
  if (!v1::SupplementalGroupsPolicy_IsValid(in.supplemental_groups_policy())) {
    return Invalid(absl::StrCat("supplemental_groups_policy: ", in.supplemental_groups_policy(), " is not a policy"));
  }
  out.set_strict_groups(in.supplemental_groups_policy() == v1::Strict);
  out.set_readonly_rootfs(in.readonly_rootfs());
  out.set_no_new_privs(in.no_new_privs());
  *out.mutable_masked_paths() = in.masked_paths();
  *out.mutable_readonly_paths() = in.readonly_paths();
  RETURN_IF_ERROR(ToSeccomp(in, *out.mutable_seccomp()));
  RETURN_IF_ERROR(ToAppArmor(in, *out.mutable_apparmor()));
  if (in.has_selinux_options()) ToSelinux(in.selinux_options(), *out.mutable_selinux());
  return absl::OkStatus();
}

// A sandbox has no process that these would be for; what is wrong with them is refused all the same.
absl::Status CheckSandboxSecurity(const v1::LinuxSandboxSecurityContext& in) {
  if (in.has_run_as_group() && !in.has_run_as_user()) return Invalid("run_as_group: given without run_as_user");
  v1::LinuxContainerSecurityContext as_container;
  if (in.has_run_as_user()) *as_container.mutable_run_as_user() = in.run_as_user();
  if (in.has_run_as_group()) *as_container.mutable_run_as_group() = in.run_as_group();
  *as_container.mutable_supplemental_groups() = in.supplemental_groups();
  as_container.set_supplemental_groups_policy(in.supplemental_groups_policy());
  if (in.has_seccomp()) *as_container.mutable_seccomp() = in.seccomp();
  if (in.has_apparmor()) *as_container.mutable_apparmor() = in.apparmor();
  as_container.set_seccomp_profile_path(in.seccomp_profile_path());
  state::v1::Security security;
  RETURN_IF_ERROR(ToSecurity(as_container, security));
  return spec::ValidateSandboxSecurity(security);
}

absl::Status AddMounts(const v1::ContainerConfig& config, state::v1::ContainerSpec& spec) {
  for (const v1::Mount& m : config.mounts()) {
    if (!v1::MountPropagation_IsValid(m.propagation()))
      return Invalid(absl::StrCat("mounts.propagation: ", m.propagation(), " is not a mode"));
    state::v1::Mount& out = *spec.add_mounts();
    out.set_container_path(m.container_path());
    out.set_host_path(m.host_path());
    out.set_readonly(m.readonly());
    out.set_recursive_readonly(m.recursive_read_only());
    out.set_propagation(static_cast<state::v1::Mount::Propagation>(m.propagation()));
    out.set_selinux_relabel(m.selinux_relabel());
    AddMappings(m.uidmappings(), *out.mutable_uid_mappings());
    AddMappings(m.gidmappings(), *out.mutable_gid_mappings());
    *out.mutable_mount_options() = m.mount_options();
    out.set_image(m.image().image());
    out.set_image_sub_path(m.image_sub_path());
  }
  return absl::OkStatus();
}

// SIGNAL_SIGRTMINPLUS3 -> "SIGRTMIN+3"
absl::StatusOr<std::string> ToSignalName(v1::Signal signal) {
  if (signal == v1::SIGNAL_RUNTIME_DEFAULT) return std::string();
  if (!v1::Signal_IsValid(signal)) return Invalid(absl::StrCat("stop_signal: ", signal, " is not a signal"));
  std::string name(absl::StripPrefix(v1::Signal_Name(signal), "SIGNAL_"));
  return absl::StrReplaceAll(name, {{"PLUS", "+"}, {"MINUS", "-"}});
}

}  // namespace

absl::Status CheckRuntimeHandler(absl::string_view name) {
  if (name.empty() || name == "berth") return absl::OkStatus();
  return Invalid(absl::StrCat("runtime_handler: '", name, "' is not known"));
}

absl::StatusOr<state::v1::PodSpec> ToPodSpec(const v1::PodSandboxConfig& config, absl::string_view runtime_handler) {
  if (!config.has_metadata()) return Invalid("config.metadata: is missing");
  RETURN_IF_ERROR(CheckRuntimeHandler(runtime_handler));
  state::v1::PodSpec spec;
  spec.set_name(config.metadata().name());
  spec.set_uid(config.metadata().uid());
  spec.set_namespace_(config.metadata().namespace_());
  spec.set_attempt(config.metadata().attempt());
  spec.set_hostname(config.hostname());
  spec.set_log_directory(config.log_directory());
  spec.set_runtime_handler(std::string(runtime_handler));
  if (config.has_dns_config()) {
    *spec.mutable_dns()->mutable_servers() = config.dns_config().servers();
    *spec.mutable_dns()->mutable_searches() = config.dns_config().searches();
    *spec.mutable_dns()->mutable_options() = config.dns_config().options();
  }
  for (const v1::PortMapping& p : config.port_mappings()) {
    if (!v1::Protocol_IsValid(p.protocol()))
      return Invalid(absl::StrCat("port_mappings.protocol: ", p.protocol(), " is not a protocol"));
    state::v1::PortMapping& port = *spec.add_ports();
    port.set_protocol(static_cast<state::v1::PortMapping::Protocol>(p.protocol()));
    port.set_container_port(p.container_port());
    port.set_host_port(p.host_port());
    port.set_host_ip(p.host_ip());
  }
  *spec.mutable_labels() = config.labels();
  *spec.mutable_annotations() = config.annotations();
  spec.set_cgroup_parent(config.linux().cgroup_parent());
  *spec.mutable_sysctls() = config.linux().sysctls();
  const v1::LinuxSandboxSecurityContext& security = config.linux().security_context();
  RETURN_IF_ERROR(CheckSandboxSecurity(security), "linux.security_context");
  RETURN_IF_ERROR(ToNamespaces(security.namespace_options(), *spec.mutable_namespaces()), "linux.security_context");
  spec.set_privileged(security.privileged());
  if (security.has_selinux_options()) ToSelinux(security.selinux_options(), *spec.mutable_selinux());
  if (config.linux().has_overhead()) *spec.mutable_overhead() = ToResources(config.linux().overhead());
  if (config.linux().has_resources()) *spec.mutable_resources() = ToResources(config.linux().resources());
  return spec;
}

absl::StatusOr<state::v1::ContainerSpec> ToContainerSpec(const v1::ContainerConfig& config) {
  if (!config.has_metadata()) return Invalid("config.metadata: is missing");
  state::v1::ContainerSpec spec;
  spec.set_name(config.metadata().name());
  spec.set_attempt(config.metadata().attempt());
  spec.set_image(config.image().image());
  spec.set_user_specified_image(config.image().user_specified_image());
  *spec.mutable_command() = config.command();
  *spec.mutable_args() = config.args();
  spec.set_working_dir(config.working_dir());
  for (const v1::KeyValue& e : config.envs()) {
    state::v1::Env& env = *spec.add_envs();
    env.set_key(e.key());
    env.set_value(e.value());
  }
  RETURN_IF_ERROR(AddMounts(config, spec));
  for (const v1::Device& d : config.devices()) {
    state::v1::Device& device = *spec.add_devices();
    device.set_container_path(d.container_path());
    device.set_host_path(d.host_path());
    device.set_permissions(d.permissions());
  }
  *spec.mutable_labels() = config.labels();
  *spec.mutable_annotations() = config.annotations();
  spec.set_log_path(config.log_path());
  spec.set_stdin(config.stdin());
  spec.set_stdin_once(config.stdin_once());
  spec.set_tty(config.tty());
  *spec.mutable_resources() = ToResources(config.linux().resources());
  RETURN_IF_ERROR(ToSecurity(config.linux().security_context(), *spec.mutable_security()), "linux.security_context");
  ASSIGN_OR_RETURN(std::string signal, ToSignalName(config.stop_signal()));
  spec.set_stop_signal(signal);
  for (const v1::CDIDevice& d : config.cdi_devices()) spec.add_cdi_devices(d.name());
  return spec;
}

state::v1::Resources ToResources(const v1::LinuxContainerResources& in) {
  state::v1::Resources out;
  out.set_cpu_period(in.cpu_period());
  out.set_cpu_quota(in.cpu_quota());
  out.set_cpu_shares(in.cpu_shares());
  out.set_memory_limit(in.memory_limit_in_bytes());
  out.set_memory_swap_limit(in.memory_swap_limit_in_bytes());
  out.set_oom_score_adj(in.oom_score_adj());
  out.set_cpuset_cpus(in.cpuset_cpus());
  out.set_cpuset_mems(in.cpuset_mems());
  for (const v1::HugepageLimit& h : in.hugepage_limits()) {
    state::v1::HugepageLimit& limit = *out.add_hugepages();
    limit.set_page_size(h.page_size());
    limit.set_limit(h.limit());
  }
  *out.mutable_unified() = in.unified();
  return out;
}

}  // namespace berth::service
