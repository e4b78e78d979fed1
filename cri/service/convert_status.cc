#include "absl/strings/numbers.h"
#include "absl/strings/str_replace.h"
#include "cri/service/convert.h"
#include "cri/spec/process.h"

namespace berth::service {
namespace {

v1::PodSandboxMetadata ToMetadata(const state::v1::PodSpec& spec) {
  v1::PodSandboxMetadata out;
  out.set_name(spec.name());
  out.set_uid(spec.uid());
  out.set_namespace_(spec.namespace_());
  out.set_attempt(spec.attempt());
  return out;
}

v1::ContainerMetadata ToMetadata(const state::v1::ContainerSpec& spec) {
  v1::ContainerMetadata out;
  out.set_name(spec.name());
  out.set_attempt(spec.attempt());
  return out;
}

v1::ImageSpec ToImageSpec(const state::v1::ContainerSpec& spec) {
  v1::ImageSpec out;
  out.set_image(spec.user_specified_image().empty() ? spec.image() : spec.user_specified_image());
  out.set_user_specified_image(spec.user_specified_image());
  return out;
}

v1::LinuxContainerResources ToLinuxResources(const state::v1::Resources& r) {
  v1::LinuxContainerResources out;
  out.set_cpu_period(r.cpu_period());
  out.set_cpu_quota(r.cpu_quota());
  out.set_cpu_shares(r.cpu_shares());
  out.set_memory_limit_in_bytes(r.memory_limit());
  out.set_memory_swap_limit_in_bytes(r.memory_swap_limit());
  out.set_oom_score_adj(r.oom_score_adj());
  out.set_cpuset_cpus(r.cpuset_cpus());
  out.set_cpuset_mems(r.cpuset_mems());
  for (const auto& h : r.hugepages()) {
    auto* limit = out.add_hugepage_limits();
    limit->set_page_size(h.page_size());
    limit->set_limit(h.limit());
  }
  *out.mutable_unified() = r.unified();
  return out;
}

v1::Signal ToSignal(uint32_t number) {
  std::string name = absl::StrReplaceAll(spec::SignalName(static_cast<int>(number)), {{"+", "PLUS"}, {"-", "MINUS"}});
  v1::Signal signal = v1::SIGNAL_RUNTIME_DEFAULT;
  v1::Signal_Parse("SIGNAL_" + name, &signal);
  return signal;
}

}  // namespace

v1::PodSandbox ToPodSandbox(const state::v1::Pod& pod) {
  v1::PodSandbox out;
  out.set_id(pod.id());
  *out.mutable_metadata() = ToMetadata(pod.spec());
  out.set_state(static_cast<v1::PodSandboxState>(pod.state()));
  out.set_created_at(pod.created_at());
  *out.mutable_labels() = pod.spec().labels();
  *out.mutable_annotations() = pod.spec().annotations();
  out.set_runtime_handler(pod.spec().runtime_handler());
  return out;
}

v1::PodSandboxStatus ToPodSandboxStatus(const state::v1::Pod& pod) {
  v1::PodSandboxStatus out;
  out.set_id(pod.id());
  *out.mutable_metadata() = ToMetadata(pod.spec());
  out.set_state(static_cast<v1::PodSandboxState>(pod.state()));
  out.set_created_at(pod.created_at());
  out.mutable_network();
  for (int i = 0; i < pod.ips_size(); ++i) {
    if (i == 0) {
      out.mutable_network()->set_ip(pod.ips(i));
    } else {
      out.mutable_network()->add_additional_ips()->set_ip(pod.ips(i));
    }
  }
  v1::NamespaceOption& ns = *out.mutable_linux()->mutable_namespaces()->mutable_options();
  ns.set_network(static_cast<v1::NamespaceMode>(pod.spec().namespaces().network()));
  ns.set_pid(static_cast<v1::NamespaceMode>(pod.spec().namespaces().pid()));
  ns.set_ipc(static_cast<v1::NamespaceMode>(pod.spec().namespaces().ipc()));
  const state::v1::Namespaces& own = pod.spec().namespaces();
  ns.mutable_userns_options()->set_mode(own.uids_size() > 0 ? v1::POD : v1::NODE);
  AddMappings(own.uids(), *ns.mutable_userns_options()->mutable_uids());
  AddMappings(own.gids(), *ns.mutable_userns_options()->mutable_gids());
  *out.mutable_labels() = pod.spec().labels();
  *out.mutable_annotations() = pod.spec().annotations();
  out.set_runtime_handler(pod.spec().runtime_handler());
  return out;
}

v1::Container ToContainer(const state::v1::Container& c) {
  v1::Container out;
  out.set_id(c.id());
  out.set_pod_sandbox_id(c.pod_id());
  *out.mutable_metadata() = ToMetadata(c.spec());
  *out.mutable_image() = ToImageSpec(c.spec());
  out.set_image_ref(c.image_ref());
  out.set_image_id(c.image_id());
  out.set_state(static_cast<v1::ContainerState>(c.state()));
  out.set_created_at(c.created_at());
  *out.mutable_labels() = c.spec().labels();
  *out.mutable_annotations() = c.spec().annotations();
  return out;
}

v1::ContainerStatus ToContainerStatus(const state::v1::Container& c) {
  v1::ContainerStatus out;
  out.set_id(c.id());
  *out.mutable_metadata() = ToMetadata(c.spec());
  out.set_state(static_cast<v1::ContainerState>(c.state()));
  out.set_created_at(c.created_at());
  out.set_started_at(c.started_at());
  out.set_finished_at(c.finished_at());
  out.set_exit_code(c.exit_code());
  *out.mutable_image() = ToImageSpec(c.spec());
  out.set_image_ref(c.image_ref());
  out.set_image_id(c.image_id());
  out.set_reason(c.reason());
  out.set_message(c.message());
  *out.mutable_labels() = c.spec().labels();
  *out.mutable_annotations() = c.spec().annotations();
  for (const state::v1::Mount& m : c.spec().mounts()) {
    v1::Mount& mount = *out.add_mounts();
    mount.set_container_path(m.container_path());
    mount.set_host_path(m.host_path());
    mount.set_readonly(m.readonly());
    mount.set_recursive_read_only(m.recursive_readonly());
    mount.set_propagation(static_cast<v1::MountPropagation>(m.propagation()));
    mount.set_selinux_relabel(m.selinux_relabel());
    AddMappings(m.uid_mappings(), *mount.mutable_uidmappings());
    AddMappings(m.gid_mappings(), *mount.mutable_gidmappings());
    *mount.mutable_mount_options() = m.mount_options();
    if (!m.image().empty()) {
      mount.mutable_image()->set_image(m.image());
      mount.mutable_image()->set_image_ref(m.image_id());
    }
    mount.set_image_sub_path(m.image_sub_path());
  }
  out.set_log_path(c.log_path());
  *out.mutable_resources()->mutable_linux() = ToLinuxResources(c.spec().resources());
  v1::LinuxContainerUser& user = *out.mutable_user()->mutable_linux();
  user.set_uid(c.user().uid());
  user.set_gid(c.user().gid());
  for (uint32_t g : c.user().groups()) user.add_supplemental_groups(g);
  out.set_stop_signal(ToSignal(c.stop_signal()));
  return out;
}

v1::ContainerStats ToContainerStats(const pod::ContainerUsage& usage, absl::Time now) {
  v1::ContainerStats out;
  v1::ContainerAttributes& attributes = *out.mutable_attributes();
  attributes.set_id(usage.container.id());
  *attributes.mutable_metadata() = ToMetadata(usage.container.spec());
  *attributes.mutable_labels() = usage.container.spec().labels();
  *attributes.mutable_annotations() = usage.container.spec().annotations();
  int64_t timestamp = absl::ToUnixNanos(now);
  const cgroup::Stats& s = usage.stats;
  out.mutable_cpu()->set_timestamp(timestamp);
  out.mutable_cpu()->mutable_usage_core_nano_seconds()->set_value(s.cpu_usage_ns);
  v1::MemoryUsage& memory = *out.mutable_memory();
  memory.set_timestamp(timestamp);
  memory.mutable_working_set_bytes()->set_value(s.memory_working_set);
  memory.mutable_usage_bytes()->set_value(s.memory_usage);
  memory.mutable_rss_bytes()->set_value(s.memory_rss);
  memory.mutable_page_faults()->set_value(s.page_faults);
  memory.mutable_major_page_faults()->set_value(s.major_page_faults);
  if (s.memory_limit && *s.memory_limit > s.memory_working_set) {
    memory.mutable_available_bytes()->set_value(*s.memory_limit - s.memory_working_set);
  }
  out.mutable_swap()->set_timestamp(timestamp);
  out.mutable_swap()->mutable_swap_usage_bytes()->set_value(s.swap_usage);
  if (usage.writable) *out.mutable_writable_layer() = ToFilesystemUsage(*usage.writable);
  return out;
}

v1::Image ToImage(const image::Image& image) {
  v1::Image out;
  out.set_id(image.id.str());
  for (const std::string& t : image.repo_tags) out.add_repo_tags(t);
  for (const std::string& d : image.repo_digests) out.add_repo_digests(d);
  out.set_size(image.size);
  out.set_pinned(image.pinned);
  // USER of the image: a number is a uid, anything else a name; a group behind ':' does not count here.
  absl::string_view user = absl::string_view(image.config.user).substr(0, image.config.user.find(':'));
  int64_t uid = 0;
  if (user.empty() || absl::SimpleAtoi(user, &uid)) {
    out.mutable_uid()->set_value(uid);
  } else {
    out.set_username(std::string(user));
  }
  return out;
}

v1::FilesystemUsage ToFilesystemUsage(const image::DiskUsage& usage) {
  v1::FilesystemUsage out;
  out.set_timestamp(absl::ToUnixNanos(usage.at));
  out.mutable_fs_id()->set_mountpoint(usage.mountpoint);
  out.mutable_used_bytes()->set_value(usage.bytes);
  out.mutable_inodes_used()->set_value(usage.inodes);
  return out;
}

}  // namespace berth::service
