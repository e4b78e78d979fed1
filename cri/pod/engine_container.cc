// Containers: create, start, remove.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "cri/pod/engine.h"
#include "cri/spec/launch_plan.h"
#include "cri/spec/mount_sources.h"
#include "cri/spec/validate.h"
#include "runtime/base/undo.h"
#include "runtime/container/step_timer.h"
#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

using state::v1::Container;
using state::v1::ContainerSpec;
using state::v1::Pod;

void AddSteps(Container& container, const google::protobuf::RepeatedPtrField<shim::v1::StepTime>& steps) {
  for (const auto& s : steps) {
    auto* step = container.add_steps();
    step->set_name(s.name());
    step->set_nanoseconds(s.nanoseconds());
  }
}

// The daemon's own part of a start, before what the shim reports of its own.
void AddSteps(Container& container, const StepTimer& timer) {
  for (size_t i = 0; i < timer.size(); ++i) {
    auto* step = container.add_steps();
    step->set_name(timer[i].name);
    step->set_nanoseconds(timer[i].nanoseconds);
  }
}

}  // namespace

std::string Engine::NameOf(absl::string_view pod_id, const ContainerSpec& spec) {
  return absl::StrCat(spec.name(), "_", pod_id, "_", spec.attempt());
}

absl::StatusOr<ContainerId> Engine::CreateContainer(absl::string_view pod_text, ContainerSpec spec,
                                                    const CallContext& call) {
  ASSIGN_OR_RETURN(PodId pod_id, registry_.ResolvePod(pod_text));
  ASSIGN_OR_RETURN(Pod pod, registry_.Pod(pod_id));
  RETURN_IF_ERROR(spec::ValidateContainer(spec, pod.spec()));
  if (pod.state() != Pod::READY)
    return absl::FailedPreconditionError(absl::StrCat("pod sandbox '", pod.id(), "' is not ready"));
  std::string name = NameOf(pod.id(), spec);
  ASSIGN_OR_RETURN(std::optional<std::string> earlier, container_names_.Claim(name, call.deadline));
  if (earlier) return ContainerId(*earlier);
  auto id = MakeContainer(pod, spec);
  if (!id.ok()) {
    container_names_.Release(name);
    return id.status();
  }
  container_names_.Finish(name, id->str(), !call.cancelled());
  return id;
}

absl::StatusOr<sys::UniqueFd> Engine::OpenTargetPidNs(const Pod& pod, const ContainerSpec& spec) {
  const state::v1::Namespaces& ns = spec.security().namespaces();
  if (ns.pid() != state::v1::TARGET) return sys::UniqueFd();
  ASSIGN_OR_RETURN(ContainerId id, registry_.ResolveContainer(ns.target_id()), "namespace_options.target_id");
  ASSIGN_OR_RETURN(Container target, registry_.Container(id));
  if (target.pod_id() != pod.id()) {
    return absl::InvalidArgumentError("namespace_options.target_id: is a container of another pod sandbox");
  }
  auto ns_fd = sys::Open(absl::StrCat("/proc/", target.pid(), "/ns/pid"), O_RDONLY);
  // Still running after the namespace was opened: so the pid was the container's when it was.
  ASSIGN_OR_RETURN(target, registry_.Container(id));
  if (target.state() != Container::RUNNING || !ns_fd.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("namespace_options.target_id: container '", id.str(), "' is not running"));
  }
  return ns_fd;
}

absl::StatusOr<ContainerId> Engine::MakeContainer(const Pod& pod, const ContainerSpec& spec) {
  StepTimer timer;
  timer.Begin("image");
  ASSIGN_OR_RETURN(auto shim, registry_.Shim(PodId(pod.id())));
  auto image = parts_.images.Find(spec.image());
  RETURN_IF_ERROR(image, "image.image");
  if (const std::string& type = image->config.artifact_type; !type.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("image.image: ", spec.image(), " is an OCI artifact (", type,
                                                      "), not a container image: it can only be mounted as a volume"));
  }

  Container container;
  container.set_id(RandomHexId());
  container.set_pod_id(pod.id());
  *container.mutable_spec() = spec;
  container.set_image_id(image->id.str());
  container.set_image_ref(image->repo_digests.empty() ? image->id.str() : image->repo_digests[0]);
  container.set_state(Container::CREATED);
  container.set_created_at(registry_.CreationTime(PodId(pod.id()), spec));
  container.set_cgroup_path(cgroup::PathOfContainer(pod.cgroup_path(), container.id()));
  if (!pod.spec().log_directory().empty() && !spec.log_path().empty()) {
    container.set_log_path(absl::StrCat(pod.spec().log_directory(), "/", spec.log_path()));
  }
  const ContainerId id(container.id());

  Undo undo;
  ASSIGN_OR_RETURN(sys::UniqueFd target_pid_ns, OpenTargetPidNs(pod, spec));
  ASSIGN_OR_RETURN(spec::ContainerLabels labels, planner_->SelinuxLabels(pod, spec));
  ASSIGN_OR_RETURN(std::vector<ImageId> image_volumes, FindImageVolumes(*container.mutable_spec()));
  undo.Add([&] {
    auto remove = [this, pod_id = PodId(pod.id()), id, cgroup = container.cgroup_path()] {
      return RemoveEffects(pod_id, id, cgroup);
    };
    absl::Status undone = remove();
    if (undone.ok()) return;
    spdlog::error("container {}: undoing a failed creation: {}; will be tried again", id.str(), undone.ToString());
    janitor_.Owe(absl::StrCat("container ", id.str(), ": undoing a failed creation"), remove, absl::Seconds(1));
  });
  timer.Begin("writable layer");
  RETURN_IF_ERROR(parts_.images.CreateSnapshot(id, image->id, image_volumes));
  spec::MountSources sources;
  RETURN_IF_ERROR(sources.Make(spec));
  {
    spec::LaunchInput input{.pod = pod, .container = &container, .image = image->config, .pod_dir = PodDir(pod.id())};
    timer.Begin("overlay");
    ASSIGN_OR_RETURN(input.userns, shim->OpenUserns());
    const char* field = input.userns ? "namespace_options.userns_options" : "rootfs";
    ASSIGN_OR_RETURN(input.rootfs, parts_.images.MountSnapshot(id, input.userns.get(), labels.mount), field);
    timer.Begin("volumes");
    ASSIGN_OR_RETURN(input.config_volumes,
                     MakeConfigVolumes(pod, container, image->config.volumes, input.rootfs.get()));
    ASSIGN_OR_RETURN(input.image_volumes, MountImageVolumes(container, input.userns.get()));
    input.target_pid_ns = std::move(target_pid_ns);
    input.selinux = std::move(labels);
    timer.Begin("plan");
    ASSIGN_OR_RETURN(spec::Launch launch, planner_->Plan(std::move(input)));
    timer.Begin("shim");
    auto made = shim->Create(launch.plan, launch.fds.Get());
    if (ErrnoOf(made.status()) == ENOSPC) {
      return Annotate(made.status(), absl::StrCat("the pod's shim, whose files are in '", PodDir(pod.id()), "'"));
    }
    RETURN_IF_ERROR(made);
    timer.End();
    container.set_pid(made->pid());
    container.set_stop_signal(static_cast<uint32_t>(launch.stop_signal));
    container.mutable_user()->set_uid(launch.user.uid);
    container.mutable_user()->set_gid(launch.user.gid);
    *container.mutable_user()->mutable_groups() = {launch.user.groups.begin(), launch.user.groups.end()};
    AddSteps(container, timer);
    AddSteps(container, made->steps());
    launch.plan.mutable_process()->clear_argv();
    // Each exec gets a program, and a connection to the agent, of its own.
    launch.plan.mutable_process()->set_seccomp_fd(-1);
    launch.plan.mutable_process()->clear_seccomp_agent_fd();
    launch.plan.mutable_process()->clear_seccomp_agent_state();
    launch.plan.mutable_process()->clear_rdt_tasks_fd();
    container.set_rdt_class(launch.rdt_class);
    container.set_process(launch.plan.process().SerializeAsString());
  }
  RETURN_IF_ERROR(registry_.AddContainer(container));
  // A shim that was lost meanwhile was lost before there was a container to be marked.
  if (auto now = registry_.Shim(PodId(pod.id())); !now.ok() || *now != shim) {
    (void)registry_.ForgetContainer(id);
    return absl::UnavailableError("the pod's shim was lost while the container was made");
  }
  sources.Keep();
  undo.Commit();
  return id;
}

absl::Status Engine::StartContainer(absl::string_view id_text) {
  ASSIGN_OR_RETURN(ContainerId id, registry_.ResolveContainer(id_text));
  ASSIGN_OR_RETURN(Container container, registry_.Container(id));
  if (container.state() != Container::CREATED) {
    return absl::FailedPreconditionError(absl::StrCat("container '", id.str(), "' is not in the created state"));
  }
  ASSIGN_OR_RETURN(auto shim, registry_.Shim(PodId(container.pod_id())));
  StepTimer timer;
  timer.Begin("start");
  auto started = shim->Start(id);
  timer.End();
  if (!started.ok()) return StartFailed(id, *shim, started.status());
  return registry_.UpdateContainer(id, [&](Container& c) {
    // A process that is very short may have been reported as ended before this line.
    c.set_started_at(started->started_at());
    if (c.state() == Container::CREATED) c.set_state(Container::RUNNING);
    AddSteps(c, timer);
    AddSteps(c, started->steps());
  });
}

// The shim is asked what became of it: an answer that was lost is no start that failed. OK when it runs.
absl::Status Engine::StartFailed(const ContainerId& id, client::PodShim& shim, const absl::Status& error) {
  auto facts = shim.State();
  if (!facts.ok()) return error;  // as it was; OnShimGone sees to the rest
  for (const shim::v1::ContainerFact& fact : *facts) {
    if (fact.container_id() != id.str()) continue;
    if (fact.state() == shim::v1::CONTAINER_STATE_EXITED) MarkExited(id, fact.exit());
    if (fact.state() != shim::v1::CONTAINER_STATE_RUNNING) break;
    return registry_.UpdateContainer(id, [&](Container& c) {
      if (c.state() != Container::CREATED) return;
      c.set_state(Container::RUNNING);
      c.set_started_at(fact.started_at());
    });
  }
  return error;
}

absl::Status Engine::RemoveContainer(absl::string_view id_text) {
  auto id = registry_.ResolveContainer(id_text);
  if (absl::IsNotFound(id.status())) return absl::OkStatus();
  RETURN_IF_ERROR(id);
  ASSIGN_OR_RETURN(CallLimit::Turn turn, ends_.Enter(id->str()));
  auto container = registry_.Container(*id);
  if (!container.ok()) return absl::OkStatus();
  auto entry = registry_.Entry(PodId(container->pod_id()));
  if (!entry.ok()) return RemoveContainerLocked(*container);
  absl::MutexLock lock(&(*entry)->op);
  container = registry_.Container(*id);
  if (!container.ok()) return absl::OkStatus();
  return RemoveContainerLocked(*container);
}

absl::Status Engine::RemoveContainerLocked(const Container& container) {
  const ContainerId id(container.id());
  if (container.state() != Container::EXITED) RETURN_IF_ERROR(KillAndWait(container));
  RETURN_IF_ERROR(RemoveEffects(PodId(container.pod_id()), id, container.cgroup_path()));
  RETURN_IF_ERROR(registry_.ForgetContainer(id));
  stopping_.Erase(id);
  container_names_.ReleaseOf(NameOf(container.pod_id(), container.spec()), id.str());
  return absl::OkStatus();
}

// All that there may be of a container that does not run, but its record. Idempotent.
absl::Status Engine::RemoveEffects(const PodId& pod, const ContainerId& id, const std::string& cgroup_path) {
  if (auto shim = registry_.Shim(pod); shim.ok()) {
    absl::Status s = (*shim)->Remove(id);  // ends what was created and never started, too
    if (!s.ok() && !absl::IsNotFound(s) && !absl::IsUnavailable(s)) return s;
  }
  RETURN_IF_ERROR(RemoveCgroup(cgroup_path));
  return parts_.images.RemoveSnapshot(id);
}

absl::Status Engine::ReopenLog(absl::string_view id_text) {
  ASSIGN_OR_RETURN(ContainerId id, registry_.ResolveContainer(id_text));
  ASSIGN_OR_RETURN(Container container, registry_.Container(id));
  if (container.state() != Container::RUNNING) {
    return absl::FailedPreconditionError(absl::StrCat("container '", id.str(), "' is not running"));
  }
  const std::string& name = container.spec().log_path();
  ASSIGN_OR_RETURN(Pod pod, registry_.Pod(PodId(container.pod_id())));
  const std::string& directory = pod.spec().log_directory();
  if (directory.empty() || name.empty()) return absl::OkStatus();
  // As it is now: somebody may have removed the directory that the log was created in, and made it anew.
  ASSIGN_OR_RETURN(sys::UniqueFd dir, sys::Open(directory, O_RDONLY | O_DIRECTORY), "log_directory");
  ASSIGN_OR_RETURN(auto shim, registry_.Shim(PodId(container.pod_id())));
  return Annotate(shim->ReopenLog(id, dir.get()), absl::StrCat("log_path '", directory, "/", name, "'"));
}

absl::StatusOr<ContainerUsage> Engine::Usage(const Container& container) {
  ContainerUsage usage{container, {}, {}};
  // An exited container has no cgroup any more: zeros, and what it wrote.
  if (auto stats = parts_.cgroups.ReadStats(container.cgroup_path()); stats.ok()) usage.stats = *stats;
  auto writable = parts_.images.SnapshotUsage(ContainerId(container.id()));
  if (writable.ok()) usage.writable = *std::move(writable);
  if (!absl::IsNotFound(writable.status())) RETURN_IF_ERROR(writable);
  return usage;
}

}  // namespace berth::pod
