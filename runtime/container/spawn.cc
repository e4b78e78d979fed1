#include "runtime/container/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "runtime/container/child_report.h"
#include "runtime/rootfs/staged_mounts.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/namespace.h"
#include "runtime/sys/unix_socket.h"

namespace berth::container {
namespace {

struct Pipe {
  sys::UniqueFd read_end, write_end;
};

struct PipeOwner {
  uid_t uid;
  gid_t gid;
};

// The container's user, who may open /dev/stdout anew.
absl::StatusOr<PipeOwner> OwnerOfPipes(const SpawnEnvironment& environment, const shim::v1::Process& process) {
  if (environment.userns < 0) return PipeOwner{process.uid(), process.gid()};
  const auto uid = sys::OutsideId(environment.uids, process.uid());
  const auto gid = sys::OutsideId(environment.gids, process.gid());
  if (uid && gid) return PipeOwner{*uid, *gid};
  return absl::InvalidArgumentError(
      absl::StrCat("user ", process.uid(), ":", process.gid(), " is not mapped in the user namespace of the pod"));
}

absl::StatusOr<Pipe> MakePipe(PipeOwner owner) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  Pipe pipe{sys::UniqueFd(fds[0]), sys::UniqueFd(fds[1])};
  if (fchown(pipe.read_end.get(), owner.uid, owner.gid) != 0) return ErrnoError(errno, "chown of a pipe");
  return pipe;
}

absl::Status SetNonblocking(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "O_NONBLOCK");
  return absl::OkStatus();
}

// Waits for the helper's word of the process that it cloned.
absl::Status ReceiveForked(int control, Spawned& spawned) {
  pollfd p = {control, POLLIN, 0};
  int n;
  while ((n = poll(&p, 1, 10000)) < 0 && errno == EINTR) {
  }
  if (n <= 0) return absl::DeadlineExceededError("the clone helper does not answer");
  auto reported = ReceiveReport(control, MSG_DONTWAIT);
  if (absl::IsOutOfRange(reported.status())) return absl::InternalError("the clone helper is gone");
  ASSIGN_OR_RETURN(ReceivedReport received, std::move(reported), "clone helper");
  if (received.report.kind == ChildReport::kFailed) return StatusOf(received.report);
  if (received.report.kind != ChildReport::kForked || !received.fd) return absl::InternalError("clone helper");
  spawned.pid = received.report.pid;
  spawned.pidfd = std::move(received.fd);
  return absl::OkStatus();
}

// What a helper enters before it clones the child there. -1 = nothing.
struct Entry {
  int pid_ns_fd = -1;
  int userns = -1;  // of a container; an exec joins it with the rest of its container's namespaces
  bool empty() const { return pid_ns_fd < 0 && userns < 0; }
};

// The user namespace last: what comes before it takes rights over the host.
absl::Status Enter(const ChildContext& context, const Entry& entry) {
  if (entry.pid_ns_fd >= 0) RETURN_IF_ERROR(sys::JoinNamespaces(entry.pid_ns_fd, CLONE_NEWPID, "pid"));
  if (entry.userns < 0) return absl::OkStatus();
  RETURN_IF_ERROR(rootfs::StageMounts(*context.plan, context.fds));
  return sys::EnterUserNamespace(entry.userns);
}

// In the helper: clones the child as a child of the shim and exits; returns in the child. When it tells of the child it
// has let go of the control socket: that one is the child's alone from then on.
void CloneInside(ChildContext& context, uint64_t flags, const Entry& entry) {
  StepTimer timer;
  timer.Begin("clone");
  absl::Status status = PrepareToEnter(context);
  if (status.ok()) status = Enter(context, entry);
  if (status.ok()) {
    auto cloned = sys::Clone(flags | CLONE_PARENT);
    if (cloned.ok() && cloned->pid == 0) {
      close(context.helper);
      context.helper = -1;
      return;
    }
    status = cloned.status();
    if (status.ok()) {
      close(context.control);
      ChildReport report = MakeReport(ChildReport::kForked, timer, absl::OkStatus());
      report.pid = cloned->pid;
      SendReport(context.helper, report, cloned->pidfd.get());
      _exit(0);
    }
  }
  SendReport(context.helper, MakeReport(ChildReport::kFailed, timer, Annotate(status, timer.current())));
  _exit(128);
}

// Clones and runs `run` in the child. With a pid namespace to enter, others there can look at the child from its first
// instant; with a user namespace, it owns the namespaces that the child is born with. So a helper closes all that they
// must not see, enters, and clones the child as its sibling. With cgroup v2 it is the helper that is cloned into the
// cgroup, where the child is born then.
absl::StatusOr<Spawned> Spawn(ChildContext& context, uint64_t flags, const Entry& entry, void (*run)(ChildContext&)) {
  const bool direct = entry.empty();
  const uint64_t begin = StepTimer::Now();
  security::ListenerMailbox::Pointer mailbox;
  if (SeccompAgent(*context.process, context.fds) >= 0) {
    ASSIGN_OR_RETURN(mailbox, security::ListenerMailbox::Create());
    context.mailbox = mailbox.get();
  }
  ASSIGN_OR_RETURN(auto control, sys::SeqpacketPair());
  std::pair<sys::UniqueFd, sys::UniqueFd> helper;
  if (!direct) {
    ASSIGN_OR_RETURN(helper, sys::SeqpacketPair());
    context.helper = helper.second.get();
    if (context.target_pidfd < 0) context.target_pidfd = entry.pid_ns_fd;
  }
  context.control = control.second.get();
  context.in_cgroup = context.cgroup.v2_dir >= 0;
  ASSIGN_OR_RETURN(sys::CloneResult cloned, sys::Clone(direct ? flags : 0, context.cgroup.v2_dir));
  if (cloned.pid == 0) {
    if (!direct) CloneInside(context, flags, entry);
    run(context);
    _exit(128);
  }
  control.second.Reset();
  helper.second.Reset();
  Spawned spawned;
  if (direct) {
    spawned.pid = cloned.pid;
    spawned.pidfd = std::move(cloned.pidfd);
  } else {
    RETURN_IF_ERROR(ReceiveForked(helper.first.get(), spawned));
  }
  spawned.clone_nanoseconds = StepTimer::Now() - begin;
  RETURN_IF_ERROR(SetNonblocking(control.first.get()));
  spawned.control = std::move(control.first);
  spawned.mailbox = std::move(mailbox);
  return spawned;
}

// NEW, or as the pod: a container cannot leave the pod's namespaces for the host's.
absl::StatusOr<uint64_t> CloneFlag(shim::v1::Namespace from, uint64_t flag, absl::string_view name) {
  if (from == shim::v1::NAMESPACE_NEW) return flag;
  if (from == shim::v1::NAMESPACE_POD || from == shim::v1::NAMESPACE_HOST) return uint64_t{0};
  return absl::InvalidArgumentError(absl::StrCat("the ", name, " namespace cannot be joined by descriptor"));
}

struct PidNamespace {
  uint64_t flag = 0;
  int join_fd = -1;
};
absl::StatusOr<PidNamespace> ChoosePidNamespace(const SpawnEnvironment& environment,
                                                const shim::v1::ContainerPlan& plan, absl::Span<const int> fds) {
  PidNamespace out;
  switch (plan.pid()) {
    case shim::v1::NAMESPACE_NEW:
      out.flag = CLONE_NEWPID;
      return out;
    case shim::v1::NAMESPACE_HOST:
      return out;
    case shim::v1::NAMESPACE_POD:
      out.join_fd = environment.pod_init_pidfd;
      if (out.join_fd < 0) return absl::InvalidArgumentError("the pod shares no pid namespace");
      return out;
    case shim::v1::NAMESPACE_FD:
      out.join_fd = FdAt(fds, plan.pid_ns_fd());
      if (out.join_fd < 0) return absl::InvalidArgumentError("no descriptor of the target's pid namespace");
      return out;
    default:
      return absl::InvalidArgumentError("unknown pid namespace mode");
  }
}

}  // namespace

absl::StatusOr<Spawned> SpawnContainer(const SpawnEnvironment& environment, const shim::v1::ContainerPlan& plan,
                                       absl::Span<const int> fds) {
  ASSIGN_OR_RETURN(uint64_t net, CloneFlag(plan.network(), CLONE_NEWNET, "network"));
  ASSIGN_OR_RETURN(uint64_t ipc, CloneFlag(plan.ipc(), CLONE_NEWIPC, "ipc"));
  ASSIGN_OR_RETURN(uint64_t uts, CloneFlag(plan.uts(), CLONE_NEWUTS, "uts"));
  ASSIGN_OR_RETURN(PidNamespace pid, ChoosePidNamespace(environment, plan, fds));
  const shim::v1::Process& process = plan.process();
  ChildContext context;
  context.plan = &plan;
  context.process = &process;
  context.fds = fds;
  context.cgroup = ResolveCgroup(plan.has_cgroup(), plan.cgroup(), fds);
  context.procfs = environment.procfs;
  context.userns = environment.userns;
  context.open_files = environment.open_files;
  context.rdt_tasks = process.has_rdt_tasks_fd() ? FdAt(fds, process.rdt_tasks_fd()) : -1;
  ASSIGN_OR_RETURN(const PipeOwner owner, OwnerOfPipes(environment, process));
  Pipe in, out, err;
  if (!process.tty()) {
    ASSIGN_OR_RETURN(out, MakePipe(owner));
    ASSIGN_OR_RETURN(err, MakePipe(owner));
    context.stdout_fd = out.write_end.get();
    context.stderr_fd = err.write_end.get();
    if (plan.stdin()) {
      ASSIGN_OR_RETURN(in, MakePipe(owner));
      context.stdin_fd = in.read_end.get();
    }
    RETURN_IF_ERROR(SetNonblocking(out.read_end.get()));
    RETURN_IF_ERROR(SetNonblocking(err.read_end.get()));
  }
  ASSIGN_OR_RETURN(Spawned spawned,
                   Spawn(context, CLONE_NEWNS | net | ipc | uts | pid.flag, {pid.join_fd, environment.userns},
                         [](ChildContext& c) { RunContainerChild(c); }));
  spawned.stdout_fd = std::move(out.read_end);
  spawned.stderr_fd = std::move(err.read_end);
  spawned.stdin_fd = std::move(in.write_end);
  return spawned;
}

absl::StatusOr<Spawned> SpawnExec(const SpawnEnvironment& environment, const ExecTarget& target,
                                  const shim::v1::ExecPlan& plan, absl::Span<const int> fds) {
  ChildContext context;
  context.process = &plan.process();
  context.fds = fds;
  context.cgroup = ResolveCgroup(plan.has_cgroup(), plan.cgroup(), fds);
  if (context.cgroup.empty() && target.cgroup != nullptr) context.cgroup = *target.cgroup;
  context.procfs = environment.procfs;
  context.userns = environment.userns;
  context.open_files = environment.open_files;
  context.rdt_tasks = plan.process().has_rdt_tasks_fd() ? FdAt(fds, plan.process().rdt_tasks_fd()) : -1;
  context.stdin_fd = FdAt(fds, plan.stdin_fd());
  context.stdout_fd = FdAt(fds, plan.stdout_fd());
  context.stderr_fd = FdAt(fds, plan.stderr_fd());
  context.target_pidfd = target.pidfd;
  context.oom_score_adj = target.oom_score_adj;
  return Spawn(context, 0, {target.joins_pid_namespace ? target.pidfd : -1, -1},
               [](ChildContext& c) { RunExecChild(c); });
}

}  // namespace berth::container
