#include "runtime/shim/pod_userns.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/container/child_report.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/namespace.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unix_socket.h"

namespace berth::shim {
namespace {

using container::ChildReport;

// Runs `inside`, which gives a pid or an error, in a child that has become root of `userns`; `outside` gets the pid,
// and a pidfd of the child while it waits.
template <typename Inside, typename Outside>
absl::Status RunInside(int userns, Inside inside, Outside outside) {
  ASSIGN_OR_RETURN(auto pair, sys::SeqpacketPair());
  ASSIGN_OR_RETURN(sys::CloneResult child, sys::Clone(0));
  if (child.pid == 0) {
    pair.first.Reset();
    absl::Status entered = sys::EnterUserNamespace(userns);
    absl::StatusOr<pid_t> made = entered.ok() ? inside() : entered;
    const ChildReport::Kind kind = made.ok() ? ChildReport::kReady : ChildReport::kFailed;
    ChildReport report = container::MakeReport(kind, StepTimer(), made.status());
    report.pid = made.value_or(0);
    container::SendReport(pair.second.get(), report);
    char end;
    while (recv(pair.second.get(), &end, 1, 0) < 0 && errno == EINTR) {
    }
    _exit(0);
  }
  pair.second.Reset();
  auto received = container::ReceiveReport(pair.first.get(), 0);
  absl::Status status = received.status();
  if (status.ok() && received->report.kind != ChildReport::kReady) status = container::StatusOf(received->report);
  if (status.ok()) status = outside(received->report.pid, child.pidfd.get());
  pair.first.Reset();
  while (waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

std::vector<sys::IdRange> ToIdRanges(const google::protobuf::RepeatedPtrField<v1::IdMapping>& mappings) {
  std::vector<sys::IdRange> out;
  for (const v1::IdMapping& m : mappings) out.push_back({m.container_id(), m.host_id(), m.length()});
  return out;
}

absl::StatusOr<sys::UniqueFd> MakePodUserNamespace(const v1::SandboxPlan& plan, int procfs) {
  if (plan.uids().empty() && plan.gids().empty()) return sys::UniqueFd();
  auto userns = sys::NewUserNamespace(procfs, ToIdRanges(plan.uids()), ToIdRanges(plan.gids()));
  RETURN_IF_ERROR(userns, "userns_options");
  return userns;
}

absl::Status EnterNamespacesOwnedBy(int userns, int flags) {
  return RunInside(
      userns,
      [&]() -> absl::StatusOr<pid_t> {
        RETURN_IF_ERROR(sys::Unshare(flags));
        return 0;
      },
      [&](pid_t, int pidfd) { return sys::JoinNamespaces(pidfd, flags, "of the pod"); });
}

absl::Status DoInside(int userns, absl::FunctionRef<absl::Status()> action) {
  return RunInside(
      userns,
      [&]() -> absl::StatusOr<pid_t> {
        RETURN_IF_ERROR(action());
        return 0;
      },
      [](pid_t, int) { return absl::OkStatus(); });
}

absl::StatusOr<PodInit> StartInitOwnedBy(int userns, void (*init)()) {
  PodInit out;
  RETURN_IF_ERROR(RunInside(
      userns,
      [&]() -> absl::StatusOr<pid_t> {
        ASSIGN_OR_RETURN(sys::CloneResult cloned, sys::Clone(CLONE_NEWPID | CLONE_PARENT), "built-in init");
        if (cloned.pid == 0) init();
        return cloned.pid;
      },
      [&](pid_t pid, int) {
        // Not reaped before we do it: the number is still its.
        auto pidfd = sys::OpenPidfd(pid);
        RETURN_IF_ERROR(pidfd);
        out.pid = pid;
        out.pidfd = *std::move(pidfd);
        return absl::OkStatus();
      }));
  return out;
}

}  // namespace berth::shim
