// Processes that join a container.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>

#include "runtime/container/kill.h"
#include "runtime/container/oom.h"
#include "runtime/shim/shim.h"

namespace berth::shim {
namespace {

// For what was hung up to tidy up, before it is killed.
constexpr uint64_t kHangUpNanoseconds = 5000000000u;
// Between two attempts at a tree that grows.
constexpr uint64_t kGoOnNanoseconds = 50000000u;

}  // namespace

absl::Status Shim::Exec(PendingReply to, const v1::ExecPlan& plan, std::vector<sys::UniqueFd> fds) {
  ASSIGN_OR_RETURN(PodContainer* const c, FindRunning(plan.container_id()));
  std::vector<int> numbers;
  for (const sys::UniqueFd& fd : fds) numbers.push_back(fd.get());
  container::ExecTarget target;
  target.pidfd = c->pidfd.get();
  target.joins_pid_namespace = !c->host_pid_namespace;
  target.oom_score_adj = c->oom_score_adj;
  target.cgroup = &c->cgroup;
  ASSIGN_OR_RETURN(container::Spawned spawned, container::SpawnExec(SpawnEnv(), target, plan, numbers));

  auto exec = std::make_unique<ExecProcess>();
  exec->id = next_serial_++;
  exec->container = c->serial;
  exec->container_pid = c->pid;
  exec->seccomp = SeccompListener(plan.process(), fds, spawned);
  exec->pid = spawned.pid;
  exec->pidfd = std::move(spawned.pidfd);
  exec->control = std::move(spawned.control);
  exec->connection = to.connection;
  exec->reply = to;
  exec->oom_fd = c->cgroup.oom;
  exec->oom_kills_before = container::ReadOomKills(exec->oom_fd);
  if (plan.timeout_ns() != 0) exec->deadline = StepTimer::Now() + plan.timeout_ns();
  absl::Status watched = epoll_.Add(exec->pidfd.get(), EPOLLIN, Key(Source::kExec, exec->id));
  if (watched.ok()) watched = epoll_.Add(exec->control.get(), EPOLLIN, Key(Source::kExecControl, exec->id));
  if (!watched.ok()) {
    sys::SignalPidfd(exec->pidfd.get(), SIGKILL).IgnoreError();  // it is reaped as an orphan
    return watched;
  }
  execs_[exec->id] = std::move(exec);
  return absl::OkStatus();
}

// Nobody takes their output or hears of their end any more.
void Shim::HangUpAllOf(uint64_t connection) {
  for (const auto& [id, exec] : execs_) {
    if (exec->connection != connection || exec->exit_status) continue;
    container::SignalTree(start_.procfs.get(), exec->pid, SIGHUP);
    exec->kill_at = StepTimer::Now() + kHangUpNanoseconds;
  }
}

// One that forks faster than it is killed is gone on with in a moment: others are served in between.
void Shim::KillExecTree(ExecProcess& exec) {
  const bool all = container::KillTree(start_.procfs.get(), exec.pid);
  exec.kill_at = all ? 0 : StepTimer::Now() + kGoOnNanoseconds;
}

absl::Status Shim::KillExec(const v1::KillExec& request) {
  const int signal = request.signal();
  if (signal < 0 || signal > SIGRTMAX) return absl::InvalidArgumentError(absl::StrCat("signal ", signal));
  auto it = execs_.find(request.exec_id());
  if (it == execs_.end() || it->second->exit_status) return absl::OkStatus();
  ExecProcess& exec = *it->second;
  if (signal == 0 || signal == SIGKILL) {
    KillExecTree(exec);
    return absl::OkStatus();
  }
  container::SignalTree(start_.procfs.get(), exec.pid, signal);
  if (request.kill_after_ns() != 0) exec.kill_at = StepTimer::Now() + request.kill_after_ns();
  return absl::OkStatus();
}

void Shim::OnExecControl(ExecProcess& exec) {
  while (exec.control) {
    auto received = container::ReceiveReport(exec.control.get(), MSG_DONTWAIT);
    if (received.status().code() == absl::StatusCode::kUnavailable) return;
    if (received.ok()) {
      OnExecReport(exec, *std::move(received));
      continue;
    }
    epoll_.Remove(exec.control.get());
    exec.control.Reset();
    if (!exec.error.ok()) {
      Answer(std::exchange(exec.reply, {}), exec.error);
    } else {
      exec.running = true;
      v1::Reply reply;
      reply.mutable_exec()->set_exec_id(exec.id);
      reply.mutable_exec()->set_pid(exec.pid);
      const int terminal[] = {exec.terminal.get()};
      Answer(std::exchange(exec.reply, {}), absl::OkStatus(), std::move(reply),
             exec.terminal ? absl::MakeConstSpan(terminal) : absl::Span<const int>());
    }
    exec.terminal.Reset();
    if (exec.exit_status) return ExecEnded(exec, *exec.exit_status);
  }
}

void Shim::OnExecReport(ExecProcess& exec, container::ReceivedReport received) {
  const container::ChildReport& report = received.report;
  if (report.kind == container::ChildReport::kFailed) exec.error = container::StatusOf(report);
  if (report.kind == container::ChildReport::kReady && received.fd) {
    exec.terminal = std::move(received.fd);
    fcntl(exec.terminal.get(), F_SETFL, O_RDWR | O_NONBLOCK);
  }
  if (report.kind != container::ChildReport::kLoading) return;
  exec.error = Annotate(exec.seccomp.HandOver(exec.pidfd.get(), exec.pid, exec.container_pid), "seccomp");
  if (!exec.error.ok()) sys::SignalPidfd(exec.pidfd.get(), SIGKILL).IgnoreError();
}

// The answer to Exec precedes the event of its end: an exec is not over before its control socket is.
void Shim::OnExecExit(ExecProcess& exec) {
  if (exec.exit_status) return;
  OnExecControl(exec);
  auto status = sys::ReapPidfd(exec.pidfd.get());
  if (status.ok() && !status->has_value()) return;
  epoll_.Remove(exec.pidfd.get());
  exec.deadline = exec.kill_at = 0;
  exec.exit_status = status.ok() ? **status : sys::ExitStatus{255, 0};
  if (!exec.control) ExecEnded(exec, *exec.exit_status);
}

void Shim::ExecEnded(ExecProcess& exec, const sys::ExitStatus& end) {
  const bool known = std::any_of(containers_.begin(), containers_.end(),
                                 [&](const auto& c) { return c.second->serial == exec.container; });
  v1::Reply event;
  v1::ExecDone& done = *event.mutable_exec_done();
  done.set_exec_id(exec.id);
  done.set_exit_code(end.code);
  done.set_signal(end.signal);
  done.set_timed_out(exec.timed_out);
  done.set_oom_killed(known && container::ReadOomKills(exec.oom_fd) > exec.oom_kills_before);
  const bool ran = exec.running;
  execs_.erase(exec.id);
  if (ran) Publish(event);
}

}  // namespace berth::shim
