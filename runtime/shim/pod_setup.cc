#include "runtime/shim/pod_setup.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "runtime/container/fd_list.h"
#include "runtime/shim/pod_userns.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/fd_table.h"
#include "runtime/sys/file.h"
#include "runtime/sys/namespace.h"
#include "runtime/sys/procfs.h"

namespace berth::shim {
namespace {

bool OwnNamespace(absl::string_view path, const v1::SandboxPlan& plan) {
  const bool net = plan.network() == v1::NAMESPACE_NEW, ipc = plan.ipc() == v1::NAMESPACE_NEW,
             uts = plan.uts() == v1::NAMESPACE_NEW;
  if (absl::StartsWith(path, "net/")) return net;
  if (absl::StartsWith(path, "fs/mqueue/")) return ipc;
  if (path == "kernel/domainname" || path == "kernel/hostname") return uts;
  for (absl::string_view name : {"kernel/shm", "kernel/msg", "kernel/sem", "kernel/auto_msgmni"}) {
    if (absl::StartsWith(path, name)) return ipc;
  }
  return false;
}

absl::Status ApplySysctls(const v1::SandboxPlan& plan, int procfs) {
  for (const v1::Sysctl& sysctl : plan.sysctls()) {
    ASSIGN_OR_RETURN(std::string path, SysctlPath(sysctl.key(), plan));
    absl::Status written = sys::WriteProc(procfs, path, sysctl.value());
    if (ErrnoOf(written) == ENOENT) {
      if (sysctl.optional()) continue;
      return absl::InvalidArgumentError(absl::StrCat("sysctl '", sysctl.key(), "' is unknown to this kernel"));
    }
    RETURN_IF_ERROR(written, "sysctl '", sysctl.key(), "'");
  }
  return absl::OkStatus();
}

[[noreturn]] void RunPodInit() {
  prctl(PR_SET_NAME, "berth-init", 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  setsid();
  if (!sys::CloseAllExcept({0, 1, 2}).ok()) _exit(1);
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&set, s);
  sigprocmask(SIG_SETMASK, &set, nullptr);
  for (;;) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) _exit(1);
    if (signal != SIGCHLD) _exit(0);
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

}  // namespace

absl::StatusOr<std::string> SysctlPath(absl::string_view key, const v1::SandboxPlan& plan) {
  std::string path(key);
  const size_t first = path.find_first_of("./");
  const bool swap = first != std::string::npos && path[first] == '.';
  for (char& c : path) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && !absl::StrContains("._-/", c)) {
      return absl::InvalidArgumentError(absl::StrCat("sysctl '", key, "': invalid character"));
    }
    if (swap && (c == '.' || c == '/')) c = c == '.' ? '/' : '.';
  }
  if (absl::StrContains(absl::StrCat("/", path, "/"), "/../") || absl::StrContains(path, "//")) {
    return absl::InvalidArgumentError(absl::StrCat("sysctl '", key, "' is not a name"));
  }
  if (!OwnNamespace(path, plan)) {
    return absl::InvalidArgumentError(absl::StrCat("sysctl '", key, "' is not of a namespace that the pod owns"));
  }
  return absl::StrCat("sys/", path);
}

absl::Status SetUpPod(const v1::SandboxPlan& plan, absl::Span<const int> fds, int procfs, int userns) {
  const container::CgroupFds cgroup = container::ResolveCgroup(plan.has_cgroup(), plan.cgroup(), fds);
  if (cgroup.v2_dir < 0) {
    for (int tasks : cgroup.v1_tasks) RETURN_IF_ERROR(sys::WriteAll(tasks, "0", "cgroup tasks"));
  }
  if (plan.oom_score_adj() != 0) {
    // Best effort: lowering it takes CAP_SYS_RESOURCE.
    sys::SetOomScoreAdj(procfs, plan.oom_score_adj()).IgnoreError();
  }
  const bool net = plan.network() == v1::NAMESPACE_NEW, uts = plan.uts() == v1::NAMESPACE_NEW;
  int flags = net ? CLONE_NEWNET : 0;
  if (uts) flags |= CLONE_NEWUTS;
  if (plan.ipc() == v1::NAMESPACE_NEW) flags |= CLONE_NEWIPC;
  if (flags != 0) {
    RETURN_IF_ERROR(userns < 0 ? sys::Unshare(flags) : EnterNamespacesOwnedBy(userns, flags), "namespaces of the pod");
  }
  if (uts && !plan.hostname().empty()) RETURN_IF_ERROR(sys::SetHostname(plan.hostname()));
  if (net) RETURN_IF_ERROR(sys::BringLoopbackUp());
  if (userns < 0 || plan.sysctls().empty()) return ApplySysctls(plan, procfs);
  // Those of an IPC namespace are for root of the user namespace that owns it; the host's root counts as anybody else.
  return DoInside(userns, [&] { return ApplySysctls(plan, procfs); });
}

absl::StatusOr<PodInit> StartPodInit(int userns) {
  if (userns >= 0) return StartInitOwnedBy(userns, RunPodInit);
  ASSIGN_OR_RETURN(sys::CloneResult cloned, sys::Clone(CLONE_NEWPID), "built-in init");
  if (cloned.pid == 0) RunPodInit();
  return PodInit{cloned.pid, std::move(cloned.pidfd)};
}

}  // namespace berth::shim
