// What happens without being asked: exits, shims that vanish, and a new daemon that takes up what the last one left.
#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <map>
#include <set>

#include "cri/pod/engine.h"
#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

using state::v1::Container;
using state::v1::Pod;

std::string ReasonOf(const shim::v1::ExitRecord& record) {
  if (!record.error().empty()) return "StartError";
  if (record.oom_killed()) return "OOMKilled";
  return record.exit_code() == 0 ? "Completed" : "Error";
}

}  // namespace

Engine::Engine(Options options, Parts parts) : options_(std::move(options)), parts_(parts), registry_(parts.store) {}

Engine::~Engine() {
  // With the last pod gone, nothing of ours stays in the cgroup trees either.
  if (registry_.Pods().empty()) parts_.pod_cgroups.RemoveParent(options_.cgroup_parent);
}

client::ShimEvents Engine::Events() {
  return {[this](const PodId& pod, const shim::v1::ExitRecord& record) { OnExit(pod, record); },
          [this](const PodId& pod) { OnShimGone(pod); }};
}

void Engine::MarkExited(const ContainerId& id, const shim::v1::ExitRecord& record) {
  absl::Status s = registry_.UpdateContainer(id, [&](Container& c) {
    if (c.state() == Container::EXITED) return;  // told twice: the first word stands
    c.set_state(Container::EXITED);
    c.set_pid(0);
    c.set_exit_code(record.exit_code());
    if (record.started_at() != 0) c.set_started_at(record.started_at());
    c.set_finished_at(record.finished_at());
    c.set_reason(ReasonOf(record));
    c.set_message(record.error());
  });
  if (!s.ok() && !absl::IsNotFound(s)) spdlog::error("container {}: recording its exit: {}", id.str(), s.ToString());
}

void Engine::OnExit(const PodId& pod, const shim::v1::ExitRecord& record) {
  const ContainerId id(record.container_id());
  spdlog::info("container {} of pod {} exited with {}{}", id.Short(), pod.Short(), record.exit_code(),
               record.oom_killed() ? " (out of memory)" : "");
  MarkExited(id, record);
}

void Engine::OnShimGone(const PodId& pod) {
  spdlog::error("pod {}: its shim is gone; its containers are killed", pod.str());
  absl::Status posted = background_.Post([this, pod] {
    registry_.SetShim(pod, nullptr);
    (void)registry_.UpdatePod(pod, [](Pod& p) { p.set_state(Pod::NOT_READY); });
    for (const Container& c : registry_.ContainersOf(pod)) {
      if (c.state() == Container::EXITED) continue;
      if (absl::Status s = parts_.cgroups.Kill(c.cgroup_path()); !s.ok()) {
        spdlog::error("container {}: killing it without its shim: {}", c.id(), s.ToString());
      }
    }
    RecoverContainers(pod, {}, client::ShimLauncher::ReadExitRecords(PodDir(pod.str())));
  });
  if (!posted.ok()) spdlog::error("pod {}: {}", pod.str(), posted.ToString());
}

// Brings the containers' records in step with what is known: the facts of a living shim (by container), or the exit
// records that a dead one left. Of what neither knows, nothing lives any more.
void Engine::RecoverContainers(const PodId& pod, const std::vector<shim::v1::ContainerFact>& facts,
                               const std::vector<shim::v1::ExitRecord>& exits) {
  std::map<std::string, const shim::v1::ContainerFact*> known;
  for (const auto& fact : facts) known[fact.container_id()] = &fact;
  std::map<std::string, const shim::v1::ExitRecord*> ended;
  for (const auto& exit : exits) ended[exit.container_id()] = &exit;
  for (const Container& c : registry_.ContainersOf(pod)) {
    if (c.state() == Container::EXITED) continue;
    const ContainerId id(c.id());
    if (auto fact = known.find(c.id()); fact != known.end()) {
      if (fact->second->state() == shim::v1::CONTAINER_STATE_EXITED) {
        MarkExited(id, fact->second->exit());
      } else if (fact->second->state() == shim::v1::CONTAINER_STATE_RUNNING && c.state() == Container::CREATED) {
        (void)registry_.UpdateContainer(id, [&](Container& record) {
          record.set_state(Container::RUNNING);
          record.set_started_at(fact->second->started_at());
        });
      }
    } else if (auto exit = ended.find(c.id()); exit != ended.end()) {
      MarkExited(id, *exit->second);
    } else {
      shim::v1::ExitRecord lost;
      lost.set_exit_code(255);
      lost.set_finished_at(absl::ToUnixNanos(absl::Now()));
      MarkExited(id, lost);
    }
  }
}

void Engine::RecoverPod(const Pod& pod) {
  const PodId id(pod.id());
  if (pod.state() == Pod::READY) {
    auto shim = launcher_->Reconnect(id, PodDir(pod.id()));
    if (shim.ok()) {
      registry_.SetShim(id, *shim);
      if (auto facts = (*shim)->State(); facts.ok()) {
        RecoverContainers(id, *facts, {});
        return;
      }
    }
    spdlog::warn("pod {}: no shim answers ({}); it is not ready", pod.id(), shim.status().ToString());
  } else if (auto shim = launcher_->Reconnect(id, PodDir(pod.id())); shim.ok()) {
    registry_.SetShim(id, *shim);  // half stopped or half made: kept, so that a stop can end it
  }
  (void)registry_.UpdatePod(id, [](Pod& p) { p.set_state(Pod::NOT_READY); });
  for (const Container& c : registry_.ContainersOf(id)) {
    if (c.state() != Container::EXITED) (void)parts_.cgroups.Kill(c.cgroup_path());
  }
  RecoverContainers(id, {}, client::ShimLauncher::ReadExitRecords(PodDir(pod.id())));
}

absl::Status Engine::Recover() {
  ASSIGN_OR_RETURN(planner_, spec::LaunchPlanner::Create(parts_.cgroups, parts_.confinement, options_.launch));
  for (const char* dir : {"", "/pods", "/netns"}) RETURN_IF_ERROR(sys::MakeDirs(options_.state_dir + dir, 0711));
  ASSIGN_OR_RETURN(state::Loaded loaded, parts_.store.Load());
  for (const std::string& damage : loaded.damage) spdlog::error("state: {}", damage);
  for (const state::Record& record : loaded.records) {
    Pod pod;
    Container container;
    if (record.kind == state::Kind::kPod && pod.ParseFromString(record.data)) {
      registry_.RestorePod(pod);
      parts_.confinement.selinux->Take(pod.selinux_level());
      // Not known to have been delivered: a retry of the call gets the same id.
      pod_names_.Finish(NameOf(pod.spec()), pod.id(), false);
    } else if (record.kind == state::Kind::kContainer && container.ParseFromString(record.data)) {
      registry_.RestoreContainer(container);
      container_names_.Finish(NameOf(container.pod_id(), container.spec()), container.id(), false);
    } else if (record.kind != state::Kind::kDetach) {
      spdlog::error("state: record '{}' cannot be read and is left alone", record.id);
    }
  }
  for (const Pod& pod : registry_.Pods()) RecoverPod(pod);
  RemoveStrays();
  TakeUpNetworks(loaded.records);
  return absl::OkStatus();
}

// Writable layers that no record speaks of: their creation was cut short.
void Engine::RemoveStrays() {
  for (const ContainerId& id : parts_.images.Snapshots()) {
    if (registry_.Container(id).ok()) continue;
    spdlog::info("removing the writable layer {} that no container owns", id.str());
    if (absl::Status s = parts_.images.RemoveSnapshot(id); !s.ok()) spdlog::error("{}", s.ToString());
  }
}

}  // namespace berth::pod
