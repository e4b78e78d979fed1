#include "runtime/shim/zygote.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "runtime/container/fd_list.h"
#include "runtime/shim/shim.h"
#include "runtime/shim/wire.h"
#include "runtime/sys/clone.h"
#include "runtime/sys/fd_table.h"
#include "runtime/sys/namespace.h"
#include "runtime/sys/procfs.h"

namespace berth::shim {
namespace {

struct Zygote {
  sys::UniqueFd socket;
  sys::UniqueFd procfs;
  rlimit open_files = {};
};

absl::Status Prepare(Zygote& zygote) {
  prctl(PR_SET_NAME, "berth-zygote", 0, 0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // Nobody in a container may look into this process or one that is forked from it, whatever it shares with us.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ErrnoError(errno, "PR_SET_DUMPABLE");
  umask(0);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGCHLD, SIG_IGN);  // the first of each two forks is reaped by the kernel
  RETURN_IF_ERROR(sys::CloseAllExcept({0, 1, 2, zygote.socket.get()}));
  RETURN_IF_ERROR(sys::Unshare(CLONE_NEWNS), "mount namespace");
  RETURN_IF_ERROR(sys::ReplaceRootByEmptyTmpfs("/proc"), "template root");
  ASSIGN_OR_RETURN(zygote.procfs, sys::OpenDetachedProcfs());
  if (getrlimit(RLIMIT_NOFILE, &zygote.open_files) != 0) return ErrnoError(errno, "getrlimit");
  const rlimit raised = {zygote.open_files.rlim_max, zygote.open_files.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &raised) != 0) return ErrnoError(errno, "setrlimit");
  return absl::OkStatus();
}

// The answer to request 1; an OK status too.
void Say(int connection, const absl::Status& status) {
  v1::Reply reply;
  reply.set_seq(1);
  reply.set_code(static_cast<int>(status.code()));
  reply.set_error_number(ErrnoOf(status));
  reply.set_message(std::string(status.message()));
  SendMessage(connection, reply.SerializeAsString(), {}, MSG_DONTWAIT).IgnoreError();
}

[[noreturn]] void RunShim(ShimStart start) {
  prctl(PR_SET_NAME, "berth-shim", 0, 0, 0);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  signal(SIGCHLD, SIG_DFL);
  setsid();
  sys::UniqueFd connection(fcntl(start.daemon.get(), F_DUPFD_CLOEXEC, 3));  // Start takes the original
  auto shim = Shim::Start(std::move(start));
  if (!shim.ok()) {
    Say(connection.get(), shim.status());
    _exit(1);
  }
  connection.Reset();
  (*shim)->Run();
  _exit(0);
}

// In the first fork: decodes the plan, so that the zygote's memory stays as it is, and leaves the shim behind as an
// orphan, which the host's init adopts.
[[noreturn]] void Launch(Zygote& zygote, Message message) {
  zygote.socket.Reset();
  ShimStart start;
  start.daemon = std::move(message.fds.back());
  message.fds.pop_back();
  start.fds = std::move(message.fds);
  start.procfs = std::move(zygote.procfs);
  start.open_files = zygote.open_files;
  if (!start.plan.ParseFromString(message.body)) {
    Say(start.daemon.get(), absl::InvalidArgumentError("the sandbox plan cannot be read"));
    _exit(1);
  }
  std::vector<int> numbers;
  for (const sys::UniqueFd& fd : start.fds) numbers.push_back(fd.get());
  const container::CgroupFds cgroup = container::ResolveCgroup(start.plan.has_cgroup(), start.plan.cgroup(), numbers);
  auto cloned = sys::Clone(0, cgroup.v2_dir);
  if (cloned.ok() && cloned->pid == 0) RunShim(std::move(start));
  if (!cloned.ok()) Say(start.daemon.get(), Annotate(cloned.status(), "fork the shim"));
  _exit(0);
}

}  // namespace

int RunZygote(int socket) {
  Zygote zygote;
  zygote.socket.Reset(socket);
  if (absl::Status status = Prepare(zygote); !status.ok()) {
    Say(socket, Annotate(status, "zygote"));
    return 1;
  }
  Say(socket, absl::OkStatus());
  MessageReader reader;
  for (;;) {
    auto packet = sys::RecvPacket(socket, kMaxPacketBytes);
    if (!packet.ok()) return absl::IsOutOfRange(packet.status()) ? 0 : 1;
    auto message = reader.Add(*std::move(packet));
    if (!message.ok()) return 1;
    if (!message->has_value() || (*message)->fds.empty()) continue;
    auto cloned = sys::Clone(0);
    if (cloned.ok() && cloned->pid == 0) Launch(zygote, **std::move(message));
    if (!cloned.ok()) Say((*message)->fds.back().get(), Annotate(cloned.status(), "fork"));
  }
}

}  // namespace berth::shim
