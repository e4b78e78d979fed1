#include "runtime/container/child.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "runtime/container/child_report.h"
#include "runtime/container/execute.h"
#include "runtime/rootfs/apply.h"
#include "runtime/rootfs/staged_mounts.h"
#include "runtime/security/credentials.h"
#include "runtime/sys/fd_table.h"
#include "runtime/sys/file.h"
#include "runtime/sys/namespace.h"
#include "runtime/sys/procfs.h"
#include "runtime/sys/signal.h"
#include "runtime/sys/user_namespace.h"

namespace berth::container {
namespace {

struct Child {
  ChildContext& context;
  StepTimer timer;
  rootfs::Terminal terminal;
};

struct Step {
  const char* name;
  absl::Status (*run)(Child&);
};

[[noreturn]] void Fail(Child& child, const absl::Status& status) {
  child.timer.End();
  SendReport(child.context.control, MakeReport(ChildReport::kFailed, child.timer, status));
  _exit(128);
}

void RunSteps(Child& child, absl::Span<const Step> steps) {
  for (const Step& step : steps) {
    child.timer.Begin(step.name);
    if (absl::Status status = step.run(child); !status.ok()) {
      Fail(child, Annotate(status, child.timer.current()));
    }
  }
}

absl::Status KeepOnlyNeeded(const ChildContext& context) {
  std::vector<int> keep;
  const int agent = SeccompAgent(*context.process, context.fds);  // the shim talks to it
  std::copy_if(context.fds.begin(), context.fds.end(), std::back_inserter(keep), [&](int fd) { return fd != agent; });
  for (int fd : {0, 1, 2, context.control, context.helper, context.stdin_fd, context.stdout_fd, context.stderr_fd,
                 context.procfs, context.target_pidfd, context.userns, context.cgroup.v2_dir}) {
    keep.push_back(fd);
  }
  keep.insert(keep.end(), context.cgroup.v1_tasks.begin(), context.cgroup.v1_tasks.end());
  return sys::CloseAllExcept(std::move(keep));
}

absl::Status CloseDescriptors(Child& child) { return KeepOnlyNeeded(child.context); }

// Closed at once: whoever shares the pid namespace is not to find it.
absl::Status EnterRdtClass(ChildContext& context) {
  if (context.rdt_tasks < 0) return absl::OkStatus();
  absl::Status status = sys::WriteAll(context.rdt_tasks, "0", "resctrl tasks");
  close(context.rdt_tasks);
  context.rdt_tasks = -1;
  return status;
}

// A thread that moves itself does not wait for the grace period that moving another process costs.
absl::Status EnterCgroup(ChildContext& context) {
  RETURN_IF_ERROR(EnterRdtClass(context));
  if (context.in_cgroup) return absl::OkStatus();
  for (int tasks : context.cgroup.v1_tasks) RETURN_IF_ERROR(sys::WriteAll(tasks, "0", "cgroup tasks"));
  return absl::OkStatus();
}

absl::Status JoinCgroup(Child& child) { return EnterCgroup(child.context); }

// After joining: the namespace's root is the cgroup that the caller is in.
absl::Status NewCgroupNamespace(Child& child) {
  if (child.context.plan->cgroup_ns() != shim::v1::NAMESPACE_NEW) return absl::OkStatus();
  return sys::Unshare(CLONE_NEWCGROUP);
}

absl::Status NewSession(Child& child) {
  sys::ResetSignals();
  if (setsid() < 0) return ErrnoError(errno, "setsid");
  if (setrlimit(RLIMIT_NOFILE, &child.context.open_files) != 0) return ErrnoError(errno, "RLIMIT_NOFILE");
  return absl::OkStatus();
}

absl::Status SetStreams(Child& child) {
  const int streams[] = {child.context.stdin_fd, child.context.stdout_fd, child.context.stderr_fd};
  for (int i = 0; i < 3; ++i) {
    if (streams[i] >= 0 && dup2(streams[i], i) < 0) return ErrnoError(errno, "dup2");
  }
  return absl::OkStatus();
}

// Makes `slave` the session's terminal and all three standard streams.
absl::Status TakeTerminal(int slave) {
  if (ioctl(slave, TIOCSCTTY, 0) != 0) return ErrnoError(errno, "TIOCSCTTY");
  for (int i = 0; i < 3; ++i) {
    if (dup2(slave, i) < 0) return ErrnoError(errno, "dup2");
  }
  return absl::OkStatus();
}

absl::Status SetExecStreams(Child& child) {
  if (!child.context.process->tty()) return SetStreams(child);
  return child.context.stdin_fd < 0 ? absl::OkStatus() : TakeTerminal(child.context.stdin_fd);
}

// The cwd that a read-only rootfs will not let anyone make later; below a volume it is made after the mounts.
absl::Status MakeWorkingDirectoryEarly(Child& child) {
  const shim::v1::ContainerPlan& plan = *child.context.plan;
  const int rootfs = FdAt(child.context.fds, plan.rootfs_fd());
  if (!plan.readonly_rootfs() || rootfs < 0) return absl::OkStatus();
  return sys::MakeDirsInRoot(rootfs, child.context.process->cwd(), 0755).status();
}

absl::Status BuildRootfs(Child& child) {
  if (child.context.userns >= 0) RETURN_IF_ERROR(rootfs::TakeStagedMounts(*child.context.plan, child.context.fds));
  return rootfs::Apply(*child.context.plan, child.context.fds, child.timer, &child.terminal);
}

absl::Status SetContainerTerminal(Child& child) {
  if (!child.context.process->tty()) return absl::OkStatus();
  RETURN_IF_ERROR(TakeTerminal(child.terminal.slave.get()));
  child.terminal.slave.Reset();
  return absl::OkStatus();
}

absl::Status WriteProcSettings(ChildContext& context) {
  if (context.procfs < 0) return absl::OkStatus();
  const bool is_exec = context.plan == nullptr;
  const int value = context.process->has_oom_score_adj() ? context.process->oom_score_adj()
                    : is_exec                            ? context.oom_score_adj
                                                         : 0;
  // Labels of an exec that is still far away: a procfs of the container's would not do, and in a user namespace none
  // can be made once parts of the container's own are masked.
  absl::Status labels = security::SetExecLabels(*context.process, context.procfs);
  absl::Status status = sys::SetOomScoreAdj(context.procfs, value);
  close(context.procfs);
  context.procfs = -1;
  RETURN_IF_ERROR(labels);
  // Lowering it takes CAP_SYS_RESOURCE, which this machine's root may lack: the container is worth more than the score.
  if (ErrnoOf(status) == EACCES || ErrnoOf(status) == EPERM) return absl::OkStatus();
  return status;
}

absl::Status SetProcSettings(Child& child) { return WriteProcSettings(child.context); }

absl::Status ChangeDirectory(Child& child) {
  const std::string& cwd = child.context.process->cwd().empty() ? "/" : child.context.process->cwd();
  if (cwd[0] != '/') return absl::InvalidArgumentError(absl::StrCat("'", cwd, "' is not absolute"));
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open("/", O_PATH | O_DIRECTORY));
  auto dir = child.context.plan != nullptr ? sys::MakeDirsInRoot(root.get(), cwd, 0755)
                                           : sys::OpenInRoot(root.get(), cwd, O_PATH | O_DIRECTORY);
  RETURN_IF_ERROR(dir.status(), "working directory");
  if (fchdir(dir->get()) != 0) return ErrnoError(errno, absl::StrCat("chdir '", cwd, "'"));
  // "(unreachable)": a directory outside of the root, by whatever trick. See getcwd(3).
  char where[4096];
  if (syscall(SYS_getcwd, where, sizeof where) < 0) return ErrnoError(errno, absl::StrCat("getcwd of '", cwd, "'"));
  if (where[0] != '/') return absl::PermissionDeniedError(absl::StrCat("'", cwd, "' is outside of the container"));
  return absl::OkStatus();
}

absl::Status JoinContainer(Child& child) {
  const int user = child.context.userns >= 0 ? CLONE_NEWUSER : 0;
  RETURN_IF_ERROR(sys::JoinNamespaces(child.context.target_pidfd,
                                      CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | user,
                                      "of the container"));
  return user != 0 ? sys::BecomeNamespaceRoot() : absl::OkStatus();
}

// A terminal of the container's devpts, unless the plan brought one.
absl::Status OpenExecTerminal(Child& child) {
  if (!child.context.process->tty() || child.context.stdin_fd >= 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open("/", O_PATH | O_DIRECTORY));
  RETURN_IF_ERROR(rootfs::OpenTerminal(root.get(), child.context.process->uid(), child.terminal));
  RETURN_IF_ERROR(TakeTerminal(child.terminal.slave.get()));
  SendReport(child.context.control, MakeReport(ChildReport::kReady, child.timer, absl::OkStatus()),
             child.terminal.master.get());
  child.terminal = rootfs::Terminal();
  return absl::OkStatus();
}

// Orphans of the exec come to its first process instead of the container's init: while that lives, its descendants
// are all that the exec started. See KillTree.
absl::Status BecomeSubreaper(Child&) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  return absl::OkStatus();
}

absl::Status ApplyCredentials(Child& child) {
  RETURN_IF_ERROR(sys::CloseOnExecFrom(3));
  const bool is_container = child.context.plan != nullptr;
  // A container whose shim is killed has lost its log and its exit code: it goes too.
  if (is_container) prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  security::ListenerMailbox* mailbox = child.context.mailbox;
  if (mailbox != nullptr) SendReport(child.context.control, MakeReport(ChildReport::kLoading, {}, absl::OkStatus()));
  return security::ApplyCredentials(*child.context.process, child.context.fds, mailbox);
}

[[noreturn]] void ExecuteProgram(Child& child) {
  const shim::v1::Process& process = *child.context.process;
  const std::vector<std::string> argv(process.argv().begin(), process.argv().end());
  const std::vector<std::string> env(process.env().begin(), process.env().end());
  child.timer.Begin("execute");
  Fail(child, Execute(argv, env));
}

constexpr Step kContainerSteps[] = {
    {"descriptors", CloseDescriptors},
    {"cgroup", JoinCgroup},
    {"cgroup namespace", NewCgroupNamespace},
    {"session", NewSession},
    {"streams", SetStreams},
    {"labels, oom score", SetProcSettings},
    {"working directory", MakeWorkingDirectoryEarly},
    {"rootfs", BuildRootfs},
    {"terminal", SetContainerTerminal},
    {"working directory", ChangeDirectory},
};

constexpr Step kExecSteps[] = {
    {"descriptors", CloseDescriptors},      {"cgroup", JoinCgroup},         {"session", NewSession},
    {"labels, oom score", SetProcSettings}, {"streams", SetExecStreams},    {"namespaces", JoinContainer},
    {"terminal", OpenExecTerminal},         {"subreaper", BecomeSubreaper}, {"working directory", ChangeDirectory},
    {"credentials", ApplyCredentials},
};

constexpr Step kReleaseSteps[] = {{"credentials", ApplyCredentials}};

}  // namespace

absl::Status PrepareToEnter(ChildContext& context) {
  RETURN_IF_ERROR(KeepOnlyNeeded(context), "descriptors");
  RETURN_IF_ERROR(EnterCgroup(context), "cgroup");
  RETURN_IF_ERROR(WriteProcSettings(context), "labels, oom score");
  const CgroupFds& cgroup = context.cgroup;
  for (int fd : {cgroup.v2_dir, cgroup.oom, cgroup.kill, cgroup.v1_procs, cgroup.v1_freezer, cgroup.v1_dir}) {
    if (fd >= 0) close(fd);
  }
  for (int fd : cgroup.v1_tasks) close(fd);
  context.cgroup = CgroupFds();
  context.in_cgroup = true;
  return absl::OkStatus();
}

void RunContainerChild(ChildContext& context) {
  Child child{context, {}, {}};
  RunSteps(child, kContainerSteps);
  child.timer.End();
  SendReport(context.control, MakeReport(ChildReport::kReady, child.timer, absl::OkStatus()),
             child.terminal.master.get());
  child.terminal.master.Reset();
  char go = 0;
  ssize_t n;
  while ((n = recv(context.control, &go, 1, 0)) < 0 && errno == EINTR) {
  }
  if (n != 1) _exit(128);  // the shim is gone, or gave this container up
  child.timer = StepTimer();
  RunSteps(child, kReleaseSteps);
  ExecuteProgram(child);
}

void RunExecChild(ChildContext& context) {
  Child child{context, {}, {}};
  RunSteps(child, kExecSteps);
  ExecuteProgram(child);
}

}  // namespace berth::container
