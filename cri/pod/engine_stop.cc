// The stop ladder (docs/design/0039-stop-ladder.md): stop signal, grace, SIGKILL by cgroup, a bounded wait, and a
// report of what is left. No rung waits for a shim: the signals are the daemon's own, and the shim's word that a
// container has ended is checked against the process itself.
#include <fcntl.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "cri/pod/engine.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/process_state.h"
#include "runtime/sys/procfs.h"

namespace berth::pod {
namespace {

using state::v1::Container;
using state::v1::Pod;

// How long processes may take to die after SIGKILL before the caller is told that they do not.
constexpr absl::Duration kKillWait = absl::Seconds(10);
// How often it is looked whether a shim keeps silent, and what outran a SIGKILL is killed again.
constexpr absl::Duration kLook = absl::Milliseconds(500);
// How long a shim may take to report an exit.
constexpr absl::Duration kReportWait = absl::Seconds(5);

// The first process of a container, while it is the child of the shim that reaps it: so its number is not another's.
// NotFound when it is gone.
absl::StatusOr<sys::UniqueFd> OpenFirst(const Container& container, int shim_pid) {
  const absl::Status gone = absl::NotFoundError("its first process is gone");
  if (container.pid() <= 0) return gone;
  ASSIGN_OR_RETURN(sys::UniqueFd pidfd, sys::OpenPidfd(static_cast<pid_t>(container.pid())));
  ASSIGN_OR_RETURN(sys::UniqueFd procfs, sys::Open("/proc", O_RDONLY | O_DIRECTORY));
  sys::ProcessStat stat;
  if (!sys::ReadStat(procfs.get(), static_cast<pid_t>(container.pid()), &stat) || stat.parent != shim_pid) return gone;
  if (sys::PidfdExited(pidfd.get())) return gone;
  return pidfd;
}

}  // namespace

absl::Status Engine::SignalFirst(const Container& container, int signal) {
  auto shim = registry_.Shim(PodId(container.pod_id()));
  if (!shim.ok()) return absl::OkStatus();  // its death was the container's
  auto pidfd = OpenFirst(container, (*shim)->pid());
  absl::Status sent = pidfd.ok() ? sys::SignalPidfd(pidfd->get(), signal) : pidfd.status();
  return absl::IsNotFound(sent) ? absl::OkStatus() : sent;
}

bool Engine::AwaitEnd(const Container& container, const Deadline& deadline, const std::function<void()>& at_each_look) {
  const ContainerId id(container.id());
  const PodId pod_id(container.pod_id());
  bool ended = false;
  Deadline report;
  for (;;) {
    if (registry_.AwaitExit(id, Deadline::Earlier(deadline, Deadline::In(kLook)))) return true;
    if (deadline.Passed() || ending_) return false;
    auto shim = registry_.Shim(pod_id);
    if (!shim.ok()) OweTakeUp(pod_id, absl::ZeroDuration());  // which says how its containers ended
    const bool was_ended =
        std::exchange(ended, shim.ok() && absl::IsNotFound(OpenFirst(container, (*shim)->pid()).status()));
    if (ended && !was_ended) report = Deadline::In(kReportWait);
    if (ended && report.Passed()) {
      // It may have been us who did not listen: its record is written before it reports.
      for (const shim::v1::ExitRecord& record : client::ShimLauncher::ReadExitRecords(PodDir(pod_id.str()))) {
        if (record.container_id() == id.str()) OnExit(pod_id, record);
      }
      if (registry_.AwaitExit(id, Deadline::In(absl::ZeroDuration()))) return true;
      EndSilentShim(pod_id);
      report = Deadline::In(kReportWait);
    }
    if (!ended) at_each_look();
  }
}

// One that does not report what has ended is stopped, or stuck itself. A pod that cannot be managed is ended; what its
// death means for the containers is OnShimGone's.
void Engine::EndSilentShim(const PodId& id) {
  auto pod = registry_.Pod(id);
  if (!pod.ok()) return;
  spdlog::error("pod {}: its shim has not reported an exit for {}; the shim is killed", id.str(),
                absl::FormatDuration(kReportWait));
  if (absl::Status s = parts_.cgroups.Kill(pod->cgroup_path()); !s.ok()) {
    spdlog::error("pod {}: killing its shim: {}", id.str(), s.ToString());
  }
}

absl::Status Engine::StopContainer(absl::string_view id_text, absl::Duration grace) {
  auto id = registry_.ResolveContainer(id_text);
  if (absl::IsNotFound(id.status())) return absl::OkStatus();
  RETURN_IF_ERROR(id);
  ASSIGN_OR_RETURN(CallLimit::Turn turn, ends_.Enter(id->str()));
  auto container = registry_.Container(*id);
  if (!container.ok() || container->state() == Container::EXITED) return absl::OkStatus();
  if (grace > absl::ZeroDuration() && container->state() == Container::RUNNING) {
    // A caller that went away does not take the stop back; a second one does not signal again. Each call climbs on by
    // its own grace: so the shortest one counts.
    if (stopping_.Insert(*id)) {
      if (absl::Status sent = SignalFirst(*container, static_cast<int>(container->stop_signal())); !sent.ok()) {
        stopping_.Erase(*id);
        return Annotate(sent, "stop signal");
      }
    }
    if (AwaitEnd(*container, Deadline::In(grace), [] {})) return absl::OkStatus();
    if (ending_) return absl::CancelledError("the daemon ends");
  }
  return KillAndWait(*container);
}

absl::Status Engine::KillAndWait(const Container& container) { return KillAndWait(container, Deadline::In(kKillWait)); }

absl::Status Engine::KillAndWait(const Container& container, const Deadline& deadline) {
  absl::Status killed;
  const auto kill = [&] {
    killed = parts_.cgroups.Kill(container.cgroup_path());
    // What left the cgroup dies with the first process of its pid namespace.
    SignalFirst(container, SIGKILL).IgnoreError();
  };
  kill();
  if (AwaitEnd(container, deadline, kill)) return absl::OkStatus();
  return absl::DeadlineExceededError(
      absl::StrCat("container '", container.id(), "' did not end within ", absl::FormatDuration(kKillWait),
                   " after SIGKILL: ", WhatIsLeft(container.cgroup_path(), container.pid()), UnreportedBy(container),
                   killed.ok() ? "" : "; ", killed.message()));
}

std::string Engine::UnreportedBy(const Container& container) {
  auto shim = registry_.Shim(PodId(container.pod_id()));
  if (!shim.ok() || !absl::IsNotFound(OpenFirst(container, (*shim)->pid()).status())) return "";
  const std::string state = sys::DescribeProcesses({(*shim)->pid()});
  return state.empty() ? "" : absl::StrCat("; its shim has not reported its end: ", state);
}

std::string Engine::WhatIsLeft(const std::string& cgroup_path, int64_t also) {
  std::vector<pid_t> pids = parts_.cgroups.Pids(cgroup_path).value_or(std::vector<pid_t>());
  if (also > 0 && std::find(pids.begin(), pids.end(), also) == pids.end()) pids.push_back(static_cast<pid_t>(also));
  std::string left = sys::DescribeProcesses(pids);
  return left.empty() ? "no process of it is left" : left;
}

absl::Status Engine::KillContainers(const PodId& id) {
  std::vector<Container> alive = registry_.ContainersOf(id);
  alive.erase(
      std::remove_if(alive.begin(), alive.end(), [](const Container& c) { return c.state() == Container::EXITED; }),
      alive.end());
  // All are killed before the first is waited for: they share the time.
  for (const Container& c : alive) parts_.cgroups.Kill(c.cgroup_path()).IgnoreError();
  const Deadline deadline = Deadline::In(kKillWait);
  absl::Status first;
  for (const Container& c : alive) {
    absl::Status killed = KillAndWait(c, deadline);
    if (first.ok()) first = killed;
  }
  return first;
}

absl::Status Engine::EndShim(const Pod& pod) {
  const PodId id(pod.id());
  auto shim = registry_.Shim(id);
  // One that was started and could not be spoken to lives all the same, and may not even be in its cgroup yet.
  if (!shim.ok()) shim = launcher_->Reconnect(id, PodDir(id.str()), kReportWait);
  if (!shim.ok()) return parts_.cgroups.Kill(pod.cgroup_path());
  parts_.cgroups.Thaw(pod.cgroup_path());
  if (absl::Status ended = (*shim)->Shutdown(); !ended.ok()) {
    return absl::Status(ended.code(), absl::StrCat(ended.message(), ": ", sys::DescribeProcesses({(*shim)->pid()})));
  }
  registry_.SetShim(id, nullptr);
  return absl::OkStatus();
}

absl::Status Engine::RemoveCgroup(const std::string& path) {
  // What the first process did not take along: a container in the host's or the pod's pid namespace has such.
  if (auto pids = parts_.cgroups.Pids(path); pids.ok() && !pids->empty()) RETURN_IF_ERROR(parts_.cgroups.Kill(path));
  absl::Status removed = parts_.cgroups.Remove(path);
  if (ErrnoOf(removed) != EBUSY) return removed;
  return absl::DeadlineExceededError(absl::StrCat("cgroup '", path, "' is in use: ", WhatIsLeft(path, 0)));
}

}  // namespace berth::pod
