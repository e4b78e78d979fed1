// Pods: run, stop, remove.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "cri/pod/engine.h"
#include "cri/pod/network_request.h"
#include "cri/pod/sandbox_files.h"
#include "cri/spec/confinement.h"
#include "cri/spec/id_mapping.h"
#include "cri/spec/shm_size.h"
#include "cri/spec/validate.h"
#include "runtime/base/undo.h"
#include "runtime/sys/boot_id.h"
#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

using state::v1::Pod;
using state::v1::PodSpec;

shim::v1::Namespace ShimNamespace(state::v1::NamespaceMode mode) {
  return mode == state::v1::NODE ? shim::v1::NAMESPACE_HOST : shim::v1::NAMESPACE_NEW;
}

absl::Status CheckUserNamespace(const PodSpec& spec, const spec::Features& features) {
  if (!spec::HasUserNamespace(spec)) return absl::OkStatus();
  if (!features.user_namespaces) {
    return absl::FailedPreconditionError(
        absl::StrCat("namespace_options.userns_options: not on this machine: ", features.why_no_user_namespaces));
  }
  if (spec.namespaces().network() != state::v1::NODE || features.user_namespaces_host_network) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "namespace_options.userns_options: not with the host's network on this machine, whose /sys cannot be bound");
}

template <typename Ids>
void SetMappings(const spec::IdMappings& from, Ids& to) {
  for (const state::v1::IdMapping& m : from) {
    auto& mapping = *to.Add();
    mapping.set_container_id(m.container_id());
    mapping.set_host_id(m.host_id());
    mapping.set_length(m.length());
  }
}

// The first error of several steps that are all to be done.
void Keep(absl::Status& first, const absl::Status& next) {
  if (first.ok()) first = next;
}

}  // namespace

std::string Engine::NameOf(const PodSpec& spec) {
  return absl::StrCat(spec.name(), "_", spec.namespace_(), "_", spec.uid(), "_", spec.attempt());
}

std::string Engine::PodDir(absl::string_view pod_id) const {
  return absl::StrCat(options_.state_dir, "/pods/", pod_id);
}

absl::StatusOr<PodId> Engine::RunPod(PodSpec spec, const CallContext& call) {
  RETURN_IF_ERROR(spec::ValidatePod(spec));
  RETURN_IF_ERROR(CheckUserNamespace(spec, options_.features));
  if (spec.cgroup_parent().empty()) spec.set_cgroup_parent(options_.cgroup_parent);
  RETURN_IF_ERROR(cgroup::PathOfPod(cgroup_driver(), spec.cgroup_parent(), "pod"), "linux.cgroup_parent");
  std::string name = NameOf(spec);
  ASSIGN_OR_RETURN(std::optional<std::string> earlier, pod_names_.Claim(name, call.deadline));
  if (earlier) {
    // A retry is answered with the pod that the first call made, but not with one that is half made or stopped.
    auto pod = registry_.Pod(PodId(*earlier));
    if (!pod.ok() || pod->state() != Pod::READY) {
      return absl::AlreadyExistsError(
          absl::StrCat("metadata: '", name, "' is taken by ", *earlier, ", which is not ready"));
    }
    return PodId(*earlier);
  }
  auto id = MakePod(spec);
  if (!id.ok()) {
    pod_names_.Release(name);
    return id.status();
  }
  pod_names_.Finish(name, id->str(), !call.cancelled());
  return id;
}

absl::StatusOr<PodId> Engine::MakePod(const PodSpec& spec) {
  Pod pod;
  pod.set_id(RandomHexId());
  *pod.mutable_spec() = spec;
  pod.set_state(Pod::NOT_READY);
  pod.set_unfinished(true);  // until all is there: a daemon that starts undoes what its predecessor did not finish
  pod.set_created_at(registry_.CreationTime(spec));
  ASSIGN_OR_RETURN(*pod.mutable_boot_id(), sys::BootId());
  ASSIGN_OR_RETURN(*pod.mutable_cgroup_path(), cgroup::PathOfPod(cgroup_driver(), spec.cgroup_parent(), pod.id()));
  const PodId id(pod.id());
  if (spec.namespaces().network() != state::v1::NODE) {
    pod.set_netns_path(absl::StrCat(options_.state_dir, "/netns/", pod.id()));
    pod.set_network_attached(true);
  }
  security::Selinux& selinux = *parts_.confinement.selinux;
  auto level = selinux.ReserveLevel(spec::ToSelinuxContext(spec.selinux()));
  RETURN_IF_ERROR(level, "selinux_options");
  pod.set_selinux_level(*level);
  auto labels = planner_->SelinuxLabels(pod, {});
  auto entry = labels.ok() ? registry_.AddPod(pod) : labels.status();
  if (!entry.ok()) {
    selinux.Release(*level);
    return entry.status();
  }
  // A stop that comes meanwhile waits. A removal that was quicker left nothing to be undone.
  absl::MutexLock lock(&(*entry)->op);
  if (!registry_.Pod(id).ok()) return absl::AbortedError("the pod sandbox was removed while it was made");

  Undo undo;
  undo.Add([&] {
    // What cannot be undone now stays as a NotReady record, and is tried again.
    if (absl::Status undone = UndoPodLocked(id); !undone.ok()) {
      spdlog::error("pod {}: undoing a failed start: {}; will be tried again", id.str(), undone.ToString());
      OweUndo(id, absl::Seconds(1));
    }
  });
  if (!spec.log_directory().empty()) RETURN_IF_ERROR(sys::MakeDirs(spec.log_directory(), 0755), "log_directory");
  RETURN_IF_ERROR(sys::MakeDirs(PodDir(pod.id()), 0700));
  if (spec.namespaces().ipc() != state::v1::NODE) {
    ASSIGN_OR_RETURN(uint64_t size, spec::ShmSize(spec));
    RETURN_IF_ERROR(MountShm(PodDir(pod.id()), size, spec, labels->pod));
  }
  RETURN_IF_ERROR(LaunchShim(pod));
  if (!pod.netns_path().empty()) RETURN_IF_ERROR(AttachNetwork(pod));
  RETURN_IF_ERROR(WriteSandboxFiles(PodDir(pod.id()), spec, {pod.ips().begin(), pod.ips().end()}), PodDir(pod.id()));
  Pod ready = pod;
  ready.set_state(Pod::READY);
  ready.set_unfinished(false);
  RETURN_IF_ERROR(registry_.ReplacePod(ready));
  // A shim that was lost meanwhile was lost before there was a ready pod to be marked.
  if (absl::Status shim = registry_.Shim(id).status(); !shim.ok()) {
    (void)registry_.UpdatePod(id, [&](Pod& record) { record = pod; });
    return shim;
  }
  undo.Commit();
  return id;
}

absl::Status Engine::LaunchShim(const Pod& pod) {
  ASSIGN_OR_RETURN(cgroup::PodCgroups::Unfinished cgroup, parts_.pod_cgroups.Make(pod.cgroup_path()), "pod cgroup");
  const state::v1::Namespaces& ns = pod.spec().namespaces();
  shim::v1::SandboxPlan plan;
  plan.set_pod_id(pod.id());
  plan.set_network(ShimNamespace(ns.network()));
  plan.set_ipc(ShimNamespace(ns.ipc()));
  // The UTS namespace follows the network: a pod on the host's network has the host's name.
  plan.set_uts(ShimNamespace(ns.network()));
  plan.set_shared_pid(ns.pid() == state::v1::POD);
  if (plan.uts() == shim::v1::NAMESPACE_NEW) plan.set_hostname(HostnameOf(pod.spec(), ""));
  for (const spec::Sysctl& s : spec::PlanSysctls(pod.spec(), options_.sysctls)) {
    auto* sysctl = plan.add_sysctls();
    sysctl->set_key(s.key);
    sysctl->set_value(s.value);
    sysctl->set_optional(s.optional);
  }
  SetMappings(ns.uids(), *plan.mutable_uids());
  SetMappings(ns.gids(), *plan.mutable_gids());
  plan.set_oom_score_adj(-998);
  std::vector<int> fds;
  cgroup.shim.AddTo(&fds, plan.mutable_cgroup());
  ASSIGN_OR_RETURN(auto shim, launcher_->Launch(plan, PodDir(pod.id()), fds), "pod sandbox process");
  UseShim(PodId(pod.id()), shim);
  parts_.pod_cgroups.Finish(pod.cgroup_path(), std::move(cgroup));
  return absl::OkStatus();
}

absl::Status Engine::AttachNetwork(Pod& pod) {
  ASSIGN_OR_RETURN(auto shim, registry_.Shim(PodId(pod.id())));
  ASSIGN_OR_RETURN(sys::UniqueFd netns, shim->OpenNetns());
  RETURN_IF_ERROR(PinNetns(netns.get(), pod.netns_path()));
  auto addresses = parts_.network.Attach(NetworkRequest(pod));
  if (!addresses.ok()) {
    NoteFailedAttach(pod);
    return Annotate(addresses.status(), "pod network");
  }
  *pod.mutable_ips() = {addresses->ips.begin(), addresses->ips.end()};
  return absl::OkStatus();
}

absl::Status Engine::StopPod(absl::string_view id_text) {
  auto id = registry_.ResolvePod(id_text);
  if (absl::IsNotFound(id.status())) return absl::OkStatus();
  RETURN_IF_ERROR(id);
  ASSIGN_OR_RETURN(CallLimit::Turn turn, ends_.Enter(id->str()));
  auto entry = registry_.Entry(*id);
  if (!entry.ok()) return absl::OkStatus();  // removed meanwhile
  absl::MutexLock lock(&(*entry)->op);
  return StopPodLocked(*id);
}

absl::Status Engine::StopPodLocked(const PodId& id) {
  auto pod = registry_.Pod(id);
  if (!pod.ok()) return absl::OkStatus();
  if (pod->unfinished()) return UndoPodLocked(id);
  RETURN_IF_ERROR(registry_.UpdatePod(id, [](Pod& record) { record.set_state(Pod::NOT_READY); }));
  if (absl::Status s = TearDownSandbox(*pod); !s.ok()) {
    OweStop(id);
    // NotFound, of a plugin for one, would tell the kubelet that there is no such pod.
    return absl::IsNotFound(s) ? absl::FailedPreconditionError(s.message()) : s;
  }
  // Exits are reported before the shim ends; a container whose report did not come was killed with it.
  for (const state::v1::Container& c : registry_.ContainersOf(id)) {
    if (c.state() == state::v1::Container::EXITED) continue;
    shim::v1::ExitRecord killed;
    killed.set_container_id(c.id());
    killed.set_exit_code(137);
    killed.set_finished_at(absl::ToUnixNanos(absl::Now()));
    MarkExited(ContainerId(c.id()), killed);
  }
  return registry_.UpdatePod(id, [](Pod& record) {
    record.set_network_attached(false);
    record.clear_detach_failing_since();
  });
}

// Everything of a pod but its containers' records and snapshots; each step is idempotent, and a failed one does
// not keep the others from being done.
absl::Status Engine::TearDownSandbox(const Pod& pod) {
  const PodId id(pod.id());
  // While a process does not die, the shim is there to reap it.
  const absl::Status killed = KillContainers(id);
  absl::Status first = killed;
  if (auto shim = registry_.Shim(id); shim.ok()) RestorePin(pod, **shim);
  if (killed.ok()) Keep(first, EndShim(pod));
  auto detached = DetachNetwork(pod);
  Keep(first, Annotate(detached.status(), "pod network"));
  // Plugins that may still do their work are given the namespace.
  if (detached.ok() && !pod.netns_path().empty()) Keep(first, UnpinNetns(pod.netns_path()));
  Keep(first, UnmountShm(PodDir(pod.id())));
  if (!killed.ok()) return killed;
  for (const state::v1::Container& c : registry_.ContainersOf(id)) {
    if (!c.cgroup_path().empty()) Keep(first, RemoveCgroup(c.cgroup_path()));
  }
  Keep(first, Annotate(parts_.pod_cgroups.Remove(pod.cgroup_path()), "pod cgroup"));
  if (first.ok() && *detached == DetachState::kOwed) first = debts_.Take(pod);
  if (first.ok()) first = sys::RemoveTreeAt(AT_FDCWD, PodDir(pod.id()));
  return first;
}

absl::Status Engine::RemovePod(absl::string_view id_text) {
  auto id = registry_.ResolvePod(id_text);
  if (absl::IsNotFound(id.status())) return absl::OkStatus();
  RETURN_IF_ERROR(id);
  ASSIGN_OR_RETURN(CallLimit::Turn turn, ends_.Enter(id->str()));
  auto entry = registry_.Entry(*id);
  if (!entry.ok()) return absl::OkStatus();
  absl::MutexLock lock(&(*entry)->op);
  auto pod = registry_.Pod(*id);
  if (!pod.ok()) return absl::OkStatus();
  RETURN_IF_ERROR(StopPodLocked(*id));
  if (!registry_.Pod(*id).ok()) return absl::OkStatus();  // it was never ready, and is undone
  for (const state::v1::Container& c : registry_.ContainersOf(*id)) RETURN_IF_ERROR(RemoveContainerLocked(c));
  return ForgetPodLocked(*pod);
}

absl::Status Engine::ForgetPodLocked(const Pod& pod) {
  RETURN_IF_ERROR(registry_.ForgetPod(PodId(pod.id())));
  parts_.confinement.selinux->Release(pod.selinux_level());
  pod_names_.ReleaseOf(NameOf(pod.spec()), pod.id());
  return absl::OkStatus();
}

}  // namespace berth::pod
