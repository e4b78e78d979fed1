// What every exec has in common, and ExecSync: commands for a caller who waits.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "cri/pod/command_pipe.h"
#include "cri/pod/engine.h"
#include "cri/spec/id_mapping.h"
#include "cri/spec/launch_plan.h"

namespace berth::pod {
namespace {

using state::v1::Container;

// Kubelets and crictl take messages of 16 MiB: both streams have to fit, and the fields around them.
constexpr size_t kOutputLimit = (16 << 20) - 1024;
// How much longer than its own timeout an exec is waited for: the shim kills it, this is for a shim that does not.
constexpr absl::Duration kSlack = absl::Seconds(5);
// How soon an exec that nobody waits for any more is killed.
constexpr int kCallerCheckMs = 1000;

// What the launcher's thread and the waiting one share; the last of them frees it.
struct Completion {
  Completion() : event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  void Set(absl::StatusOr<client::ExecOutcome> outcome) {
    {
      absl::MutexLock lock(&mu);
      result = std::move(outcome);
    }
    uint64_t one = 1;
    (void)!write(event.get(), &one, sizeof one);
  }
  bool Done() {
    absl::MutexLock lock(&mu);
    return result.has_value();
  }
  sys::UniqueFd event;
  absl::Mutex mu;
  std::optional<absl::StatusOr<client::ExecOutcome>> result ABSL_GUARDED_BY(mu);
};

absl::Status TimedOut(absl::Duration timeout) {
  return absl::DeadlineExceededError(absl::StrCat("command timed out after ", absl::FormatDuration(timeout)));
}

// Standard error gets what standard output leaves of the limit, or half of it. As often as something was appended to
// both: what was cut stays cut, since neither part of the other shrinks below its half.
void CutToLimit(std::string& out, std::string& err) {
  err.resize(std::min(err.size(), std::max(kOutputLimit / 2, kOutputLimit - out.size())));
  out.resize(std::min(out.size(), kOutputLimit - err.size()));
}

struct Output {
  sys::UniqueFd pipe;
  std::string data;

  // Takes what is there, but no more than a few pipes hold: a writer may be faster than we are. Closes the descriptor
  // at the end of the stream. What is past the limit is read and dropped, so that the command does not block.
  void Drain() {
    char buf[65536];
    for (int round = 0; pipe && round < 16; ++round) {
      ssize_t n = read(pipe.get(), buf, sizeof buf);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        pipe.Reset();
        return;
      }
      data.append(buf, std::min(static_cast<size_t>(n), kOutputLimit - data.size()));
    }
  }
};

enum class Collected { kAll, kOutOfTime, kNobodyWaits };

// Reads both streams until the command is done. A child that it left behind may hold the pipes open: what is in
// them at that moment is taken, and nobody waits for more.
Collected Collect(Output& out, Output& err, Completion& completion, const Deadline& deadline, const CallContext& call) {
  for (;;) {
    bool done = completion.Done();
    out.Drain();
    err.Drain();
    CutToLimit(out.data, err.data);
    if (done) return Collected::kAll;
    if (deadline.Passed()) return Collected::kOutOfTime;
    if (call.cancelled()) return Collected::kNobodyWaits;
    pollfd fds[3] = {{completion.event.get(), POLLIN, 0}, {out.pipe.get(), POLLIN, 0}, {err.pipe.get(), POLLIN, 0}};
    poll(fds, 3, std::min(deadline.Milliseconds(), kCallerCheckMs));  // descriptors of -1 are passed over
  }
}

}  // namespace

absl::StatusOr<Container> Engine::RunningContainer(absl::string_view id_text) const {
  ASSIGN_OR_RETURN(ContainerId id, registry_.ResolveContainer(id_text));
  ASSIGN_OR_RETURN(Container container, registry_.Container(id));
  if (container.state() == Container::RUNNING) return container;
  return absl::FailedPreconditionError(absl::StrCat("container '", id.str(), "' is not running"));
}

absl::StatusOr<ExecLaunch> Engine::PlanExec(absl::string_view id, const std::vector<std::string>& argv, bool tty) {
  ASSIGN_OR_RETURN(Container container, RunningContainer(id));
  const PodId pod_id(container.pod_id());
  ASSIGN_OR_RETURN(state::v1::Pod pod, registry_.Pod(pod_id));
  ExecLaunch launch;
  ASSIGN_OR_RETURN(launch.shim, registry_.Shim(pod_id));
  launch.plan.set_container_id(container.id());
  shim::v1::Process& process = *launch.plan.mutable_process();
  if (!process.ParseFromString(container.process())) return absl::DataLossError("container record: process");
  for (const std::string& arg : argv) process.add_argv(arg);
  process.set_tty(tty);
  RETURN_IF_ERROR(planner_->AddSeccomp(pod, container, process, launch.fds));
  ASSIGN_OR_RETURN(int rdt_tasks, planner_->AddRdtTasks(container.rdt_class(), launch.fds), "resctrl");
  process.set_rdt_tasks_fd(rdt_tasks);
  launch.uid = spec::HostUid(pod.spec(), process.uid()).value_or(0);
  launch.gid = spec::HostGid(pod.spec(), process.gid()).value_or(0);
  return launch;
}

absl::StatusOr<ExecResult> Engine::ExecSync(absl::string_view id, const std::vector<std::string>& argv,
                                            absl::Duration timeout, const CallContext& call) {
  if (argv.empty() || argv[0].empty()) return absl::InvalidArgumentError("cmd: is empty");
  ASSIGN_OR_RETURN(ExecLaunch launch, PlanExec(id, argv, false));
  ASSIGN_OR_RETURN(CommandPipe out_pipe, MakeCommandPipe(PipeFlow::kFromCommand, launch.uid, launch.gid));
  ASSIGN_OR_RETURN(CommandPipe err_pipe, MakeCommandPipe(PipeFlow::kFromCommand, launch.uid, launch.gid));
  shim::v1::ExecPlan& plan = launch.plan;
  plan.set_stdin_fd(-1);
  plan.set_stdout_fd(launch.fds.Borrow(out_pipe.theirs.get()));
  plan.set_stderr_fd(launch.fds.Borrow(err_pipe.theirs.get()));
  if (timeout > absl::ZeroDuration()) plan.set_timeout_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(timeout)));

  auto completion = std::make_shared<Completion>();
  ASSIGN_OR_RETURN(client::StartedExec exec, launch.shim->Exec(plan, launch.fds.Get(), [completion](auto outcome) {
    completion->Set(std::move(outcome));
  }));
  out_pipe.theirs.Reset();
  err_pipe.theirs.Reset();
  Output out{std::move(out_pipe.ours), ""}, err{std::move(err_pipe.ours), ""};
  const Deadline deadline = timeout > absl::ZeroDuration() ? Deadline::In(timeout + kSlack) : Deadline();
  const Collected collected = Collect(out, err, *completion, deadline, call);
  if (collected != Collected::kAll) (void)launch.shim->KillExec(exec.id);
  if (collected == Collected::kNobodyWaits) return absl::CancelledError("the caller is gone");
  if (collected == Collected::kOutOfTime) return TimedOut(timeout);
  absl::MutexLock lock(&completion->mu);
  RETURN_IF_ERROR(*completion->result);
  const client::ExecOutcome& outcome = **completion->result;
  if (outcome.timed_out) return TimedOut(timeout);
  return ExecResult{std::move(out.data), std::move(err.data), outcome.exit_code};
}

}  // namespace berth::pod
