#include "cli/manifest/cri_messages.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cli/labels.h"
#include "cli/manifest/quantity.h"
#include "cli/manifest/resources.h"

namespace berth::cli::manifest {
namespace {

namespace cri = ::runtime::v1;

// What kubelet hides for procMount Default.
constexpr const char* kMaskedPaths[] = {"/proc/asound",     "/proc/acpi",        "/proc/interrupts",
                                        "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
                                        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                                        "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap"};
constexpr const char* kReadonlyPaths[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
constexpr char kSeccompRoot[] = "/var/lib/kubelet/seccomp";
constexpr size_t kMaxHostname = 63;

void SetNamespaces(const Pod& pod, cri::NamespaceOption* options) {
  options->set_network(pod.host_network ? cri::NODE : cri::POD);
  options->set_ipc(pod.host_ipc ? cri::NODE : cri::POD);
  options->set_pid(pod.host_pid ? cri::NODE : pod.share_process_namespace ? cri::POD : cri::CONTAINER);
}

void SetSeLinux(const std::optional<SeLinux>& from, cri::SELinuxOption* to) {
  to->set_user(from->user);
  to->set_role(from->role);
  to->set_type(from->type);
  to->set_level(from->level);
}

cri::SecurityProfile ProfileMessage(const Profile& profile, absl::string_view root) {
  cri::SecurityProfile message;
  if (profile.type == "Localhost") {
    message.set_profile_type(cri::SecurityProfile::Localhost);
    message.set_localhost_ref(root.empty() ? profile.localhost : absl::StrCat(root, "/", profile.localhost));
  } else {
    message.set_profile_type(profile.type == "Unconfined" ? cri::SecurityProfile::Unconfined
                                                          : cri::SecurityProfile::RuntimeDefault);
  }
  return message;
}

// Groups of every container: fsGroup is one of them, so that volumes are accessible.
template <typename Context>
void AddGroups(const Pod& pod, Context* context) {
  if (pod.fs_group) context->add_supplemental_groups(*pod.fs_group);
  for (int64_t group : pod.supplemental_groups) context->add_supplemental_groups(group);
  context->set_supplemental_groups_policy(pod.strict_groups ? cri::Strict : cri::Merge);
}

bool AnyPrivileged(const Pod& pod) {
  for (const auto* containers : {&pod.init_containers, &pod.containers}) {
    for (const Container& container : *containers) {
      if (container.privileged) return true;
    }
  }
  return false;
}

std::string Hostname(const Pod& pod) {
  if (pod.host_network) return "";  // the host's own
  std::string name = pod.hostname.empty() ? pod.name.substr(0, kMaxHostname) : pod.hostname;
  return name.substr(0, name.find_last_not_of("-.") + 1);  // where it was cut
}

void SetIdentity(const Pod& pod, const Container& container, const ContainerFacts& facts,
                 cri::LinuxContainerSecurityContext* context) {
  Identity identity = EffectiveIdentity(pod, container);
  // A group is only taken together with a user, so the image's user is named where the manifest
  // names none.
  std::optional<int64_t> user = identity.user;
  if (!user && facts.image_username.empty()) user = facts.image_uid;
  if (user) {
    context->mutable_run_as_user()->set_value(*user);
  } else if (!facts.image_username.empty()) {
    context->set_run_as_username(facts.image_username);
  } else if (identity.group) {
    context->mutable_run_as_user()->set_value(0);
  }
  if (identity.group) context->mutable_run_as_group()->set_value(*identity.group);
  if (identity.selinux) SetSeLinux(identity.selinux, context->mutable_selinux_options());
  if (identity.apparmor) *context->mutable_apparmor() = ProfileMessage(*identity.apparmor, "");
  Profile seccomp = identity.seccomp.value_or(Profile{container.privileged ? "Unconfined" : "RuntimeDefault", ""});
  *context->mutable_seccomp() = ProfileMessage(seccomp, kSeccompRoot);
}

void SetSecurity(const Pod& pod, const Container& container, const ContainerFacts& facts,
                 cri::LinuxContainerSecurityContext* context) {
  SetNamespaces(pod, context->mutable_namespace_options());
  SetIdentity(pod, container, facts, context);
  AddGroups(pod, context);
  context->set_privileged(container.privileged);
  context->set_readonly_rootfs(container.read_only_root);
  context->set_no_new_privs(container.allow_privilege_escalation == false);
  for (const std::string& name : container.add_capabilities) {
    context->mutable_capabilities()->add_add_capabilities(name);
  }
  for (const std::string& name : container.drop_capabilities) {
    context->mutable_capabilities()->add_drop_capabilities(name);
  }
  if (container.unmasked_proc || container.privileged) return;
  for (const char* path : kMaskedPaths) context->add_masked_paths(path);
  for (const char* path : kReadonlyPaths) context->add_readonly_paths(path);
}

void SetResources(const Pod& pod, const Container& container, int64_t memory_capacity,
                  cri::LinuxContainerResources* message) {
  const Resources& resources = container.resources;
  message->set_cpu_shares(CpuShares(resources.cpu_request));
  if (int64_t quota = CpuQuota(resources.cpu_limit); quota != 0) {
    message->set_cpu_period(kCpuPeriod);
    message->set_cpu_quota(quota);
  }
  message->set_memory_limit_in_bytes(resources.memory_limit.value_or(0));
  message->set_oom_score_adj(OomScoreAdj(QosOf(pod), resources, memory_capacity));
}

void SetPodLabels(const Pod& pod, const HostFacts& host, google::protobuf::Map<std::string, std::string>& labels) {
  labels[kPodNameLabel] = pod.name;
  labels[kPodNamespaceLabel] = pod.ns;
  labels[kPodUidLabel] = host.uid;
}

}  // namespace

cri::PodSandboxConfig SandboxMessage(const Pod& pod, const HostFacts& host) {
  cri::PodSandboxConfig config;
  config.mutable_metadata()->set_name(pod.name);
  config.mutable_metadata()->set_namespace_(pod.ns);
  config.mutable_metadata()->set_uid(host.uid);
  config.set_hostname(Hostname(pod));
  config.set_log_directory(LogDirectory(pod, host));
  if (auto dns = PodDns(pod, host)) {
    auto* message = config.mutable_dns_config();
    for (const std::string& server : dns->servers) message->add_servers(server);
    for (const std::string& search : dns->searches) message->add_searches(search);
    for (const std::string& option : dns->options) message->add_options(option);
  }
  for (const Container& container : pod.containers) {
    for (const Port& port : container.ports) {
      auto* mapping = config.add_port_mappings();
      mapping->set_protocol(port.protocol == "UDP" ? cri::UDP : port.protocol == "SCTP" ? cri::SCTP : cri::TCP);
      mapping->set_container_port(port.container_port);
      mapping->set_host_port(port.host_port);
      mapping->set_host_ip(port.host_ip);
    }
  }
  for (const auto& [key, value] : pod.labels) (*config.mutable_labels())[key] = value;
  SetPodLabels(pod, host, *config.mutable_labels());
  for (const auto& [key, value] : pod.annotations) (*config.mutable_annotations())[key] = value;
  auto& annotations = *config.mutable_annotations();
  annotations[kGracePeriodAnnotation] = absl::StrCat(pod.grace_seconds);
  annotations[kVolumesAnnotation] = VolumeDirectory(host);
  annotations[kLogsAnnotation] = LogDirectory(pod, host);

  // No cgroup parent is named: the daemon's configuration has the one for pods which bring none.
  auto* context = config.mutable_linux()->mutable_security_context();
  SetNamespaces(pod, context->mutable_namespace_options());
  AddGroups(pod, context);
  context->set_privileged(AnyPrivileged(pod));
  if (pod.identity.selinux) SetSeLinux(pod.identity.selinux, context->mutable_selinux_options());
  *context->mutable_seccomp() = ProfileMessage({"RuntimeDefault", ""}, "");
  for (const auto& [key, value] : pod.sysctls) (*config.mutable_linux()->mutable_sysctls())[key] = value;
  return config;
}

cri::ContainerConfig ContainerMessage(const Pod& pod, const Container& container, bool init, const HostFacts& host,
                                      const ContainerFacts& facts) {
  cri::ContainerConfig config;
  config.mutable_metadata()->set_name(container.name);
  config.mutable_image()->set_image(facts.image_id);
  config.mutable_image()->set_user_specified_image(container.image);
  StringMap variables;
  for (const auto& [name, value] : Environment(pod, container, host, facts)) {
    auto* env = config.add_envs();
    env->set_key(name);
    env->set_value(value);
    variables[name] = value;
  }
  for (const std::string& word : container.command) config.add_command(ExpandVariables(word, variables));
  for (const std::string& word : container.args) config.add_args(ExpandVariables(word, variables));
  config.set_working_dir(container.working_dir);
  for (size_t i = 0; i < container.mounts.size(); ++i) {
    auto* mount = config.add_mounts();
    mount->set_container_path(container.mounts[i].path);
    mount->set_host_path(facts.mount_sources.at(i));
    mount->set_readonly(container.mounts[i].read_only);
  }
  SetPodLabels(pod, host, *config.mutable_labels());
  (*config.mutable_labels())[kContainerNameLabel] = container.name;
  (*config.mutable_annotations())[kGracePeriodAnnotation] = absl::StrCat(pod.grace_seconds);
  if (init) (*config.mutable_annotations())[kInitAnnotation] = "true";
  config.set_log_path(absl::StrCat(container.name, "/0.log"));
  config.set_stdin(container.stdin);
  config.set_stdin_once(container.stdin_once);
  config.set_tty(container.tty);
  SetResources(pod, container, host.memory_capacity, config.mutable_linux()->mutable_resources());
  SetSecurity(pod, container, facts, config.mutable_linux()->mutable_security_context());
  return config;
}

}  // namespace berth::cli::manifest
