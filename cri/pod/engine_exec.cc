// Commands run inside a container for a caller who waits: ExecSync.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "cri/pod/engine.h"
#include "cri/spec/id_mapping.h"
#include "cri/spec/launch_plan.h"

namespace berth::pod {
namespace {

using state::v1::Container;

constexpr size_t kOutputLimit = 16 << 20;
// How much longer than its own timeout an exec is waited for: the shim kills it, this is for a shim that does not.
constexpr absl::Duration kSlack = absl::Seconds(5);

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

struct Output {
  sys::UniqueFd read_end, write_end;
  std::string data;

  // Owned by the command's user, who may open /dev/stdout anew.
  static absl::StatusOr<Output> Open(uid_t uid, gid_t gid) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
    Output out{sys::UniqueFd(fds[0]), sys::UniqueFd(fds[1]), ""};
    if (fchown(fds[0], uid, gid) != 0) return ErrnoError(errno, "chown of a pipe");
    // Only our end: the command gets an ordinary blocking pipe.
    if (fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "fcntl");
    return out;
  }

  // Takes what is there; closes the descriptor at the end of the stream. What is past the limit is read and dropped, so
  // that the command does not block.
  void Drain() {
    char buf[65536];
    while (read_end) {
      ssize_t n = read(read_end.get(), buf, sizeof buf);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n <= 0) {
        read_end.Reset();
        return;
      }
      data.append(buf, std::min(static_cast<size_t>(n), kOutputLimit - data.size()));
    }
  }
};

// Reads both streams until the command is done. A child that it left behind may hold the pipes open: what is in
// them at that moment is taken, and nobody waits for more.
bool Collect(Output& out, Output& err, Completion& completion, absl::Time deadline) {
  for (;;) {
    bool done = completion.Done();
    out.Drain();
    err.Drain();
    if (done) return true;
    absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    pollfd fds[3] = {
        {completion.event.get(), POLLIN, 0}, {out.read_end.get(), POLLIN, 0}, {err.read_end.get(), POLLIN, 0}};
    int ms = static_cast<int>(std::min<int64_t>(absl::ToInt64Milliseconds(left) + 1, 60000));
    poll(fds, 3, ms);  // descriptors of -1 are passed over
  }
}

}  // namespace

absl::StatusOr<ExecResult> Engine::ExecSync(absl::string_view id_text, const std::vector<std::string>& argv,
                                            absl::Duration timeout) {
  if (argv.empty() || argv[0].empty()) return absl::InvalidArgumentError("cmd: is empty");
  ASSIGN_OR_RETURN(ContainerId id, registry_.ResolveContainer(id_text));
  ASSIGN_OR_RETURN(Container container, registry_.Container(id));
  if (container.state() != Container::RUNNING) {
    return absl::FailedPreconditionError(absl::StrCat("container '", id.str(), "' is not running"));
  }
  ASSIGN_OR_RETURN(auto shim, registry_.Shim(PodId(container.pod_id())));

  shim::v1::ExecPlan plan;
  plan.set_container_id(id.str());
  if (!plan.mutable_process()->ParseFromString(container.process()))
    return absl::DataLossError("container record: process");
  for (const std::string& arg : argv) plan.mutable_process()->add_argv(arg);
  plan.mutable_process()->set_tty(false);
  spec::PlanFds fds;
  ASSIGN_OR_RETURN(state::v1::Pod pod, registry_.Pod(PodId(container.pod_id())));
  RETURN_IF_ERROR(planner_->AddSeccomp(pod, container, *plan.mutable_process(), fds));
  ASSIGN_OR_RETURN(int rdt_tasks, planner_->AddRdtTasks(container.rdt_class(), fds), "resctrl");
  plan.mutable_process()->set_rdt_tasks_fd(rdt_tasks);
  ASSIGN_OR_RETURN(cgroup::Cgroup cgroup, parts_.cgroups.Open(container.cgroup_path()));
  cgroup.AddTo(&fds.Get(), plan.mutable_cgroup());
  const uid_t uid = spec::HostUid(pod.spec(), plan.process().uid()).value_or(0);
  const gid_t gid = spec::HostGid(pod.spec(), plan.process().gid()).value_or(0);
  ASSIGN_OR_RETURN(Output out, Output::Open(uid, gid));
  ASSIGN_OR_RETURN(Output err, Output::Open(uid, gid));
  plan.set_stdin_fd(-1);
  plan.set_stdout_fd(fds.Borrow(out.write_end.get()));
  plan.set_stderr_fd(fds.Borrow(err.write_end.get()));
  if (timeout > absl::ZeroDuration()) plan.set_timeout_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(timeout)));

  auto completion = std::make_shared<Completion>();
  ASSIGN_OR_RETURN(client::StartedExec exec,
                   shim->Exec(plan, fds.Get(), [completion](auto outcome) { completion->Set(std::move(outcome)); }));
  out.write_end.Reset();
  err.write_end.Reset();
  absl::Time deadline = timeout > absl::ZeroDuration() ? absl::Now() + timeout + kSlack : absl::InfiniteFuture();
  if (!Collect(out, err, *completion, deadline)) {
    (void)shim->KillExec(exec.id);
    return absl::DeadlineExceededError(absl::StrCat("command timed out after ", absl::FormatDuration(timeout)));
  }
  absl::MutexLock lock(&completion->mu);
  RETURN_IF_ERROR(*completion->result);
  const client::ExecOutcome& outcome = **completion->result;
  if (outcome.timed_out)
    return absl::DeadlineExceededError(absl::StrCat("command timed out after ", absl::FormatDuration(timeout)));
  return ExecResult{std::move(out.data), std::move(err.data), outcome.exit_code};
}

}  // namespace berth::pod
