// The life of a container, from its plan to its exit record.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/base/id.h"
#include "runtime/container/kill.h"
#include "runtime/container/oom.h"
#include "runtime/shim/exit_record.h"
#include "runtime/shim/shim.h"

namespace berth::shim {
namespace {

// How long the exit of a container's first process waits for the end of its output, which another process may hold
// open.
constexpr uint64_t kDrainNanoseconds = 200000000;

absl::Status Unknown(const std::string& id) {
  return absl::NotFoundError(absl::StrCat("the shim knows no container '", id, "'"));
}

void AddSteps(const container::ChildReport& report, google::protobuf::RepeatedPtrField<v1::StepTime>* steps) {
  for (uint32_t i = 0; i < report.step_count; ++i) {
    v1::StepTime* step = steps->Add();
    step->set_name(report.steps[i].name);
    step->set_nanoseconds(report.steps[i].nanoseconds);
  }
}

// Out of `fds`, for as long as the container is known: what `cgroup` names.
std::vector<sys::UniqueFd> KeepCgroup(const container::CgroupFds& cgroup, std::vector<sys::UniqueFd>& fds) {
  std::vector<sys::UniqueFd> kept;
  for (sys::UniqueFd& fd : fds) {
    bool used = false;
    for (int wanted : {cgroup.v2_dir, cgroup.oom, cgroup.kill, cgroup.v1_procs, cgroup.v1_freezer, cgroup.v1_dir}) {
      used |= wanted >= 0 && wanted == fd.get();
    }
    for (int wanted : cgroup.v1_tasks) used |= wanted == fd.get();
    if (used) kept.push_back(std::move(fd));
  }
  return kept;
}

}  // namespace

PodContainer* Shim::Find(const std::string& id) {
  auto it = containers_.find(id);
  return it == containers_.end() ? nullptr : it->second.get();
}

absl::StatusOr<PodContainer*> Shim::FindRunning(const std::string& id) {
  PodContainer* c = Find(id);
  if (c == nullptr) return Unknown(id);
  if (c->state == PodContainer::State::kRunning) return c;
  return absl::FailedPreconditionError(absl::StrCat("container '", id, "' is not running"));
}

PodContainer* Shim::BySerial(uint64_t serial) {
  for (const auto& [id, c] : containers_) {
    if (c->serial == serial) return c.get();
  }
  return nullptr;
}

absl::Status Shim::Create(PendingReply to, const v1::ContainerPlan& plan, std::vector<sys::UniqueFd> fds) {
  const std::string& id = plan.container_id();
  if (!IsSafeName(id)) return absl::InvalidArgumentError("container id");
  if (Find(id) != nullptr) return absl::AlreadyExistsError(absl::StrCat("container '", id, "' exists"));
  std::vector<int> numbers;
  for (const sys::UniqueFd& fd : fds) numbers.push_back(fd.get());

  auto c = std::make_unique<PodContainer>();
  c->id = id;
  c->serial = next_serial_++;
  c->create_reply = to;
  c->created_at = WallClock();
  c->own_pid_namespace = plan.pid() == v1::NAMESPACE_NEW;
  c->host_pid_namespace = plan.pid() == v1::NAMESPACE_HOST;
  c->terminal = plan.process().tty();
  c->input_open = plan.stdin();
  c->stdin_once = plan.stdin_once();
  c->oom_score_adj = plan.process().oom_score_adj();
  c->cgroup = container::ResolveCgroup(plan.has_cgroup(), plan.cgroup(), numbers);
  c->oom_kills_before = container::ReadOomKills(c->cgroup.oom);
  if (const int dir = container::FdAt(numbers, plan.has_log() ? plan.log().dir_fd() : -1); dir >= 0) {
    sys::UniqueFd own(fcntl(dir, F_DUPFD_CLOEXEC, 3));
    if (!own) return ErrnoError(errno, "log directory");
    ASSIGN_OR_RETURN(c->log, container::LogFile::Open(std::move(own), plan.log().name(), plan.log().append()));
    constexpr size_t kMost = container::CriLogEncoder::kMaxContent;
    if (const size_t asked = plan.log().max_line_bytes(); asked != 0) c->max_log_line = std::min(asked, kMost);
  }
  RETURN_IF_ERROR(ReserveExitRecord(state_dir_.get(), id));
  auto spawned = container::SpawnContainer(SpawnEnv(), plan, numbers);
  if (!spawned.ok()) {
    RemoveExitRecord(state_dir_.get(), id);
    return spawned.status();
  }
  PodContainer& known = *(containers_[id] = std::move(c));
  absl::Status adopted = AdoptContainer(known, plan, *std::move(spawned), std::move(fds));
  if (!adopted.ok()) {
    // The child sees the end of its control socket; it is reaped as an orphan.
    sys::SignalPidfd(known.pidfd.get(), SIGKILL).IgnoreError();
    RemoveExitRecord(state_dir_.get(), id);
    containers_.erase(id);
  }
  return adopted;
}

absl::Status Shim::AdoptContainer(PodContainer& c, const v1::ContainerPlan& plan, container::Spawned spawned,
                                  std::vector<sys::UniqueFd> fds) {
  c.pid = spawned.pid;
  c.clone_nanoseconds = spawned.clone_nanoseconds;
  c.pidfd = std::move(spawned.pidfd);
  c.control = std::move(spawned.control);
  c.stdin_fd = std::move(spawned.stdin_fd);
  c.kept_fds = KeepCgroup(c.cgroup, fds);
  c.seccomp = SeccompListener(plan.process(), fds, spawned);
  RETURN_IF_ERROR(epoll_.Add(c.pidfd.get(), EPOLLIN, Key(Source::kProcess, c.serial)));
  RETURN_IF_ERROR(epoll_.Add(c.control.get(), EPOLLIN, Key(Source::kControl, c.serial)));
  if (plan.process().tty()) return absl::OkStatus();
  c.out = OutputStream(std::move(spawned.stdout_fd), "stdout", false, c.max_log_line);
  c.err = OutputStream(std::move(spawned.stderr_fd), "stderr", false, c.max_log_line);
  RETURN_IF_ERROR(epoll_.Add(c.out.fd(), EPOLLIN, Key(Source::kOutput, c.serial)));
  return epoll_.Add(c.err.fd(), EPOLLIN, Key(Source::kError, c.serial));
}

absl::Status Shim::StartContainer(PendingReply to, const std::string& id) {
  PodContainer* c = Find(id);
  if (c == nullptr) return Unknown(id);
  if (c->state != PodContainer::State::kCreated) {
    return absl::FailedPreconditionError(absl::StrCat("container '", id, "' is not in the state CREATED"));
  }
  if (send(c->control.get(), "s", 1, MSG_NOSIGNAL) != 1) return ErrnoError(errno, "release the container");
  c->state = PodContainer::State::kStarting;
  c->start_reply = to;
  c->record.set_started_at(WallClock());
  return absl::OkStatus();
}

absl::Status Shim::SignalContainer(const v1::Signal& request) {
  PodContainer* c = Find(request.container_id());
  if (c == nullptr) return Unknown(request.container_id());
  const int signal = request.signal();
  if (signal < 0 || signal > SIGRTMAX) return absl::InvalidArgumentError(absl::StrCat("signal ", signal));
  if (c->reaped()) return absl::OkStatus();
  // Before the program runs there is nobody to handle a signal, and a first process ignores those without a handler.
  const bool no_program = c->state == PodContainer::State::kCreating || c->state == PodContainer::State::kCreated;
  if (no_program && (signal == SIGTERM || signal == SIGINT || signal == SIGQUIT)) {
    return sys::SignalPidfd(c->pidfd.get(), SIGKILL);
  }
  if (request.all() && container::CanKillCgroup(c->cgroup)) {
    RETURN_IF_ERROR(container::SignalCgroup(c->cgroup, signal));
    if (signal != SIGKILL) return absl::OkStatus();
  }
  absl::Status sent = sys::SignalPidfd(c->pidfd.get(), signal);
  return absl::IsNotFound(sent) ? absl::OkStatus() : sent;
}

// What waits in the pipes goes to the new file: this answers at once, however fast the container writes.
absl::Status Shim::ReopenLog(const v1::ReopenLog& request, std::vector<sys::UniqueFd> fds) {
  PodContainer* c = Find(request.container_id());
  if (c == nullptr) return Unknown(request.container_id());
  const size_t at = request.has_dir_fd() ? static_cast<size_t>(request.dir_fd()) : fds.size();
  return c->log.Reopen(at < fds.size() ? std::move(fds[at]) : sys::UniqueFd(), WallClock());
}

absl::Status Shim::Remove(PendingReply to, const std::string& id, bool* answered) {
  PodContainer* c = Find(id);
  if (c == nullptr) return Unknown(id);
  switch (c->state) {
    case PodContainer::State::kExited:
      Forget(*c);
      return absl::OkStatus();
    case PodContainer::State::kCreating:
    case PodContainer::State::kCreated:
      c->remove_when_dead = true;
      Answer(std::exchange(c->remove_reply, to), absl::AbortedError("another call removes it too"));
      *answered = true;
      Kill(*c);
      return absl::OkStatus();
    default:
      return absl::FailedPreconditionError(absl::StrCat("container '", id, "' is running"));
  }
}

void Shim::OnControl(PodContainer& c) {
  while (c.control) {
    auto received = container::ReceiveReport(c.control.get(), MSG_DONTWAIT);
    // Nothing is there, or it cannot be had for want of memory: there will be another event.
    if (!received.ok() && !absl::IsOutOfRange(received.status())) return;
    if (received.ok()) {
      OnReport(c, *std::move(received));
      continue;
    }
    epoll_.Remove(c.control.get());
    c.control.Reset();
    if (c.state == PodContainer::State::kStarting && c.start_error.ok()) {
      c.state = PodContainer::State::kRunning;
      v1::Reply reply;
      reply.mutable_start()->set_started_at(c.record.started_at());
      Answer(std::exchange(c.start_reply, {}), absl::OkStatus(), std::move(reply));
    }
    if (c.exit_status) return Ended(c, *c.exit_status);
  }
}

void Shim::OnReport(PodContainer& c, container::ReceivedReport received) {
  if (received.report.kind == container::ChildReport::kFailed) {
    c.start_error = container::StatusOf(received.report);
    if (received.report.error_number != 0) {
      absl::Status with_errno = ErrnoError(received.report.error_number, "");
      with_errno.ForEachPayload(
          [&](absl::string_view type, const absl::Cord& p) { c.start_error.SetPayload(type, p); });
    }
    return;  // it exits now, and is answered for then
  }
  if (received.report.kind == container::ChildReport::kLoading) {
    c.start_error = Annotate(c.seccomp.HandOver(c.pidfd.get(), c.pid, c.pid), "seccomp");
    if (!c.start_error.ok()) Kill(c);
    return;
  }
  if (received.report.kind != container::ChildReport::kReady || c.state != PodContainer::State::kCreating) return;
  if (received.fd && c.terminal) {
    c.out = OutputStream(std::move(received.fd), "stdout", true, c.max_log_line);
    fcntl(c.out.fd(), F_SETFL, O_RDWR | O_NONBLOCK);
    epoll_.Add(c.out.fd(), EPOLLIN, Key(Source::kOutput, c.serial)).IgnoreError();
  }
  c.state = PodContainer::State::kCreated;
  v1::Reply reply;
  reply.mutable_create()->set_pid(c.pid);
  v1::StepTime& clone = *reply.mutable_create()->add_steps();
  clone.set_name("clone");
  clone.set_nanoseconds(c.clone_nanoseconds);
  AddSteps(received.report, reply.mutable_create()->mutable_steps());
  Answer(std::exchange(c.create_reply, {}), absl::OkStatus(), std::move(reply));
}

void Shim::OnExit(PodContainer& c) {
  if (c.reaped()) return;
  OnControl(c);
  auto status = sys::ReapPidfd(c.pidfd.get());
  if (status.ok() && !status->has_value()) return;
  epoll_.Remove(c.pidfd.get());
  c.record.set_finished_at(WallClock());
  // A child that is not ours to reap cannot be: should it happen, the container is over all the same.
  c.exit_status = status.ok() ? **status : sys::ExitStatus{255, 0};
  if (!c.control) Ended(c, *c.exit_status);
}

void Shim::Ended(PodContainer& c, const sys::ExitStatus& status) {
  if (!c.own_pid_namespace && container::CanKillCgroup(c.cgroup)) container::KillCgroup(c.cgroup).IgnoreError();
  c.stdin_fd.Reset();
  if (c.state == PodContainer::State::kCreating) {
    const PendingReply to = std::exchange(c.create_reply, {});
    absl::Status error = c.start_error;
    if (error.ok()) {
      error = absl::AbortedError(absl::StrCat("the container's process ended while it was built, code ", status.code));
    }
    const PendingReply remove = c.remove_reply;
    c.state = PodContainer::State::kExited;
    Forget(c);
    Answer(to, error);
    Answer(remove, absl::OkStatus());
    return MaybeFinish();
  }
  v1::ExitRecord& record = c.record;
  record.set_container_id(c.id);
  record.set_exit_code(status.code);
  record.set_signal(status.signal);
  record.set_oom_killed(container::ReadOomKills(c.cgroup.oom) > c.oom_kills_before);
  if (c.state == PodContainer::State::kCreated) record.set_started_at(0);
  if (!c.start_error.ok()) {
    record.set_started_at(0);
    record.set_exit_code(128);
    record.set_signal(0);
    record.set_error(std::string(c.start_error.message()));
  }
  c.state = PodContainer::State::kEnding;
  c.record_deadline = StepTimer::Now() + kDrainNanoseconds;
  Drain(c);
  if (!c.out.open() && !c.err.open()) Record(c);
}

void Shim::OnOutput(PodContainer& c, OutputStream& stream) {
  if (!stream.open()) return;
  Pump(c, stream);
  if (c.state == PodContainer::State::kEnding && !c.out.open() && !c.err.open()) Record(c);
}

// All that waits in the pipes now, but no more than they can hold: a writer may be faster than we are.
void Shim::Drain(PodContainer& c) {
  for (OutputStream* stream : {&c.out, &c.err}) {
    for (int round = 0; round < 32; ++round) {
      if (Pump(c, *stream) != OutputStream::Result::kMore) break;
    }
  }
}

// On disk first, then to the daemons: a daemon that dies in between finds it there.
void Shim::Record(PodContainer& c) {
  if (c.state != PodContainer::State::kEnding) return;
  c.record_deadline = 0;
  c.state = PodContainer::State::kExited;
  if (c.remove_when_dead) {
    const PendingReply to = c.remove_reply;
    EndAttachments(c, c.attachments.TakeAll());
    Forget(c);
    Answer(to, absl::OkStatus());
    return MaybeFinish();
  }
  // On an error it is in our memory, which State tells of.
  WriteExitRecord(state_dir_.get(), c.record).IgnoreError();
  if (c.start_reply.waiting()) {
    Answer(std::exchange(c.start_reply, {}),
           c.start_error.ok() ? absl::AbortedError("the container's process was killed before it ran") : c.start_error);
  }
  v1::Reply event;
  *event.mutable_exited() = c.record;
  Publish(event);
  EndAttachments(c, c.attachments.TakeAll());
  MaybeFinish();
}

void Shim::Forget(PodContainer& c) {
  RemoveExitRecord(state_dir_.get(), c.id);
  CloseOutput(c.out);
  CloseOutput(c.err);
  const std::string id = c.id;
  containers_.erase(id);
}

void Shim::Kill(PodContainer& c) {
  if (c.reaped()) return;
  if (container::CanKillCgroup(c.cgroup)) container::KillCgroup(c.cgroup).IgnoreError();
  sys::SignalPidfd(c.pidfd.get(), SIGKILL).IgnoreError();
}

void Shim::State(PendingReply to) {
  v1::Reply reply;
  v1::StateReply& state = *reply.mutable_state();
  for (const auto& [id, c] : containers_) {
    v1::ContainerFact& fact = *state.add_containers();
    fact.set_container_id(id);
    fact.set_created_at(c->created_at);
    fact.set_started_at(c->record.started_at());
    switch (c->state) {
      case PodContainer::State::kCreating:  // the daemon that asked for it may be dead: its successor is told
      case PodContainer::State::kCreated:
      case PodContainer::State::kStarting:
        fact.set_state(v1::CONTAINER_STATE_CREATED);
        fact.set_started_at(0);
        break;
      case PodContainer::State::kExited:
        fact.set_state(v1::CONTAINER_STATE_EXITED);
        *fact.mutable_exit() = c->record;
        break;
      default:
        fact.set_state(v1::CONTAINER_STATE_RUNNING);
    }
    if (!c->reaped()) fact.set_pid(c->pid);
  }
  Answer(to, absl::OkStatus(), std::move(reply));
}

}  // namespace berth::shim
