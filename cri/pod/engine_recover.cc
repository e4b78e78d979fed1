// What happens without being asked: exits, shims that vanish, and a new daemon that takes up what the last one left.
#include <spdlog/spdlog.h>

#include <cerrno>
#include <csignal>
#include <map>

#include "cri/pod/engine.h"
#include "runtime/sys/boot_id.h"
#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

using state::v1::Container;
using state::v1::Pod;

// How long a start waits for a shim that lives and does not answer; others are taken up meanwhile.
constexpr absl::Duration kShimPatience = absl::Seconds(2);
constexpr int kTakingUp = 16;  // threads

std::string UndoKey(const PodId& id) { return absl::StrCat("pod ", id.str(), ": undoing its start"); }

absl::string_view ReasonOf(const shim::v1::ExitRecord& record) {
  if (!record.error().empty()) return "StartError";
  if (record.oom_killed()) return "OOMKilled";
  return record.exit_code() == 0 ? "Completed" : "Error";
}

}  // namespace

Engine::Engine(Options options, Parts parts) : options_(std::move(options)), parts_(parts), registry_(parts.store) {
  registry_.OnUnsaved([this] {
    janitor_.Owe(
        "state: what could not be stored", [this] { return registry_.SaveUnsaved(); }, absl::Seconds(1));
  });
}

Engine::~Engine() {
  // With the last pod gone, nothing of ours stays in the cgroup trees either.
  if (recovered_ && registry_.Pods().empty()) parts_.pod_cgroups.RemoveParent(options_.cgroup_parent);
}

client::ShimEvents Engine::Events() {
  return {[this](const PodId& pod, const shim::v1::ExitRecord& record) { OnExit(pod, record); },
          [this](const PodId& pod) { OnShimGone(pod); }};
}

void Engine::MarkExited(const ContainerId& id, const shim::v1::ExitRecord& record) {
  MarkExited(id, record, ReasonOf(record));
}

void Engine::MarkExited(const ContainerId& id, const shim::v1::ExitRecord& record, absl::string_view reason) {
  (void)registry_.UpdateContainer(id, [&](Container& c) {
    if (c.state() == Container::EXITED) return;  // told twice: the first word stands
    c.set_state(Container::EXITED);
    c.set_pid(0);
    c.set_exit_code(record.exit_code());
    if (record.started_at() != 0) c.set_started_at(record.started_at());
    c.set_finished_at(record.finished_at());
    c.set_reason(std::string(reason));
    c.set_message(record.error());
  });
}

void Engine::OnExit(const PodId& pod, const shim::v1::ExitRecord& record) {
  const ContainerId id(record.container_id());
  spdlog::info("container {} of pod {} exited with {}{}", id.Short(), pod.Short(), record.exit_code(),
               record.oom_killed() ? " (out of memory)" : "");
  MarkExited(id, record);
}

// The connection is lost, and the shim dead or killed for that; whether it is so is seen by whether one answers.
void Engine::OnShimGone(const PodId& pod) {
  registry_.SetShim(pod, nullptr);
  OweTakeUp(pod, absl::ZeroDuration());
}

// One that was lost before it was known here is lost now.
void Engine::UseShim(const PodId& id, const std::shared_ptr<client::PodShim>& shim) {
  registry_.SetShim(id, shim);
  if (shim->lost()) OnShimGone(id);
}

void Engine::OweTakeUp(const PodId& id, absl::Duration delay) {
  janitor_.Owe(
      absl::StrCat("pod ", id.str(), ": taking it up"), [this, id] { return TakeUp(id); }, delay);
}

void Engine::End() {
  ending_ = true;
  janitor_.End();
  if (absl::Status s = registry_.SaveUnsaved(); !s.ok()) spdlog::error("state: {}", s.ToString());
}

// Brings the record in step with the pod's shim. An error when it is not known whether one lives (it does not answer,
// there are no descriptors): all stays as it is on record then, and it is to be tried again.
absl::Status Engine::TakeUp(const PodId& id) {
  auto pod = registry_.Pod(id);
  if (!pod.ok() || registry_.Shim(id).ok()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string boot, sys::BootId());
  if (pod->boot_id() != boot) {
    LosePod(id, {"Unknown", "the machine was restarted while it ran", 255});
    return absl::OkStatus();
  }
  absl::StatusOr<std::shared_ptr<client::PodShim>> shim;
  absl::StatusOr<std::vector<shim::v1::ContainerFact>> facts;
  // One that breaks while it is made is tried once more: a pod is not given up for that.
  for (int attempt = 0; attempt < 2 && !facts.ok(); ++attempt) {
    shim = launcher_->Reconnect(id, PodDir(id.str()), kShimPatience);
    facts = shim.ok() ? (*shim)->State(kShimPatience) : shim.status();
    const bool gone = absl::IsNotFound(facts.status()) || absl::IsUnavailable(facts.status());
    if (!facts.ok() && (!gone || ErrnoOf(facts.status()) == EAGAIN)) return facts.status();
  }
  if (!facts.ok()) {
    if (pod->state() == Pod::READY) spdlog::error("pod {}: {}", id.str(), facts.status().ToString());
    LosePod(id, {"ShimLost", "the pod's shim ended unexpectedly, and its containers were killed", 137});
    return absl::OkStatus();
  }
  // Before anybody can have a container made by it, which these facts do not name.
  TakeUpContainers(id, *facts, {}, {"Unknown", "its process was not found again", 255});
  for (const shim::v1::ContainerFact& fact : *facts) {
    const ContainerId container(fact.container_id());
    if (registry_.Container(container).ok()) continue;
    auto remove = [this, id, container, shim = *shim, cgroup = pod->cgroup_path()]() -> absl::Status {
      absl::Status ended = shim->Signal(container, SIGKILL, true);
      if (ended.ok()) ended = shim->Remove(container);
      if (!ended.ok() && !absl::IsNotFound(ended) && !absl::IsUnavailable(ended)) return ended;
      return RemoveEffects(id, container, cgroup::PathOfContainer(cgroup, container.str()));
    };
    janitor_.Owe(absl::StrCat("container ", container.str(), ", made for a call that was never answered"), remove);
  }
  UseShim(id, *shim);
  if (pod->state() == Pod::NOT_READY && !pod->unfinished()) OweStop(id);
  return absl::OkStatus();
}

// No shim lives: what it left on disk is the last word of its containers, and of the others `loss` is.
void Engine::LosePod(const PodId& id, const Loss& loss) {
  if (auto pod = registry_.Pod(id); pod.ok() && pod->state() == Pod::READY) {
    (void)registry_.UpdatePod(id, [](Pod& p) { p.set_state(Pod::NOT_READY); });
  }
  for (const Container& c : registry_.ContainersOf(id)) {
    if (c.state() == Container::EXITED) continue;
    if (absl::Status s = parts_.cgroups.Kill(c.cgroup_path()); !s.ok()) {
      spdlog::error("container {}: killing it without its shim: {}", c.id(), s.ToString());
    }
  }
  TakeUpContainers(id, {}, client::ShimLauncher::ReadExitRecords(PodDir(id.str())), loss);
}

// Brings the containers' records in step with what is known: the facts of a living shim, or the exit records that a
// dead one left. Of what neither knows, nothing lives any more.
void Engine::TakeUpContainers(const PodId& id, const std::vector<shim::v1::ContainerFact>& facts,
                              const std::vector<shim::v1::ExitRecord>& exits, const Loss& loss) {
  std::map<std::string, const shim::v1::ContainerFact*> known;
  for (const auto& fact : facts) known[fact.container_id()] = &fact;
  std::map<std::string, const shim::v1::ExitRecord*> ended;
  for (const auto& exit : exits) ended[exit.container_id()] = &exit;
  for (const Container& c : registry_.ContainersOf(id)) {
    if (c.state() == Container::EXITED) continue;
    const ContainerId container(c.id());
    if (auto fact = known.find(c.id()); fact != known.end()) {
      if (fact->second->state() == shim::v1::CONTAINER_STATE_EXITED) {
        MarkExited(container, fact->second->exit());
      } else if (fact->second->state() == shim::v1::CONTAINER_STATE_RUNNING && c.state() == Container::CREATED) {
        (void)registry_.UpdateContainer(container, [&](Container& record) {
          record.set_state(Container::RUNNING);
          record.set_started_at(fact->second->started_at());
        });
      }
    } else if (auto exit = ended.find(c.id()); exit != ended.end()) {
      MarkExited(container, *exit->second);
    } else {
      shim::v1::ExitRecord lost;
      lost.set_exit_code(loss.exit_code);
      lost.set_error(loss.message);
      lost.set_finished_at(absl::ToUnixNanos(absl::Now()));
      MarkExited(container, lost, loss.reason);
    }
  }
}

// Takes a pod that was never ready apart. OK when it is gone, or was finished after all.
absl::Status Engine::UndoPod(const PodId& id) {
  auto entry = registry_.Entry(id);
  if (!entry.ok()) return absl::OkStatus();
  absl::MutexLock lock(&(*entry)->op);
  return UndoPodLocked(id);
}

absl::Status Engine::UndoPodLocked(const PodId& id) {
  auto pod = registry_.Pod(id);
  if (!pod.ok() || !pod->unfinished()) return absl::OkStatus();
  RETURN_IF_ERROR(TearDownSandbox(*pod));
  return ForgetPodLocked(*pod);
}

// In the background. Until it was tried once, a retry of the call that was cut short waits: what is undone may hold its
// ports.
void Engine::FinishUndo(const PodId& id, const std::string& name) {
  auto held = std::make_shared<std::atomic<bool>>(pod_names_.Hold(name));
  janitor_.Owe(UndoKey(id), [this, id, name, held] {
    const absl::Status undone = UndoPod(id);
    if (held->exchange(false)) pod_names_.Release(name);
    return undone;
  });
}

void Engine::OweUndo(const PodId& id, absl::Duration delay) {
  janitor_.Owe(
      UndoKey(id), [this, id] { return UndoPod(id); }, delay);
}

void Engine::RestoreRecords(const Records& records) {
  for (const std::string& damage : records.damage) spdlog::error("state: {}", damage);
  for (const Pod& pod : records.pods) {
    registry_.RestorePod(pod);
    parts_.confinement.selinux->Take(pod.selinux_level());
    // Not known to have been delivered: a retry of the call gets the same id.
    if (!pod.unfinished()) pod_names_.Finish(NameOf(pod.spec()), pod.id(), false);
  }
  for (const Container& container : records.containers) {
    registry_.RestoreContainer(container);
    container_names_.Finish(NameOf(container.pod_id(), container.spec()), container.id(), false);
  }
}

absl::Status Engine::Recover() {
  ASSIGN_OR_RETURN(planner_, spec::LaunchPlanner::Create(parts_.cgroups, parts_.confinement, options_.launch));
  for (const char* dir : {"", "/pods", "/netns"}) RETURN_IF_ERROR(sys::MakeDirs(options_.state_dir + dir, 0711));
  ASSIGN_OR_RETURN(const Records records, ReadRecords(parts_.store));
  RestoreRecords(records);
  recovered_ = true;
  {
    WorkerPool pool(kTakingUp, registry_.Pods().size());
    for (const Pod& pod : registry_.Pods()) {
      auto take_up = [this, pod] {
        const PodId id(pod.id());
        if (absl::Status s = TakeUp(id); !s.ok()) {
          spdlog::error("pod {}: {}; will be tried again", id.str(), s.ToString());
          OweTakeUp(id, absl::Seconds(1));
        }
        if (pod.unfinished()) FinishUndo(id, NameOf(pod.spec()));
      };
      if (!pool.Post(take_up).ok()) take_up();
    }
  }
  RemoveStrays();
  TakeUpNetworks(records.detaches);
  return absl::OkStatus();
}

}  // namespace berth::pod
