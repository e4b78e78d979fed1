#include "runtime/sys/user_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "runtime/sys/clone.h"
#include "runtime/sys/file.h"
#include "runtime/sys/namespace.h"
#include "runtime/sys/procfs.h"
#include "runtime/sys/unix_socket.h"

namespace berth::sys {
namespace {

std::string FormatMap(absl::Span<const IdRange> ranges) {
  std::string out;
  for (const IdRange& r : ranges) absl::StrAppend(&out, r.inside, " ", r.outside, " ", r.length, "\n");
  return out;
}

absl::StatusOr<UniqueFd> MapAndOpen(int procfs, pid_t pid, absl::Span<const IdRange> uids,
                                    absl::Span<const IdRange> gids) {
  RETURN_IF_ERROR(WriteProc(procfs, absl::StrCat(pid, "/uid_map"), FormatMap(uids)));
  RETURN_IF_ERROR(WriteProc(procfs, absl::StrCat(pid, "/gid_map"), FormatMap(gids)));
  return OpenAt(procfs, absl::StrCat(pid, "/ns/user"), O_RDONLY);
}

}  // namespace

std::optional<uint32_t> OutsideId(absl::Span<const IdRange> ranges, uint32_t inside) {
  for (const IdRange& r : ranges) {
    if (inside >= r.inside && inside - r.inside < r.length) return r.outside + (inside - r.inside);
  }
  return std::nullopt;
}

absl::StatusOr<UniqueFd> NewUserNamespace(int procfs, absl::Span<const IdRange> uids, absl::Span<const IdRange> gids) {
  ASSIGN_OR_RETURN(auto life, SeqpacketPair());
  ASSIGN_OR_RETURN(CloneResult child, Clone(CLONE_NEWUSER), "user namespace");
  if (child.pid == 0) {
    // The caller may have threads: nothing but system calls.
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    char end;
    while (read(life.second.get(), &end, 1) < 0 && errno == EINTR) {
    }
    _exit(0);
  }
  auto userns = MapAndOpen(procfs, child.pid, uids, gids);
  // A byte and not the end of the connection: another child may hold a copy of our end.
  SendPacket(life.first.get(), "x", {}).IgnoreError();
  while (waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return userns;
}

absl::Status BecomeNamespaceRoot() {
  if (syscall(SYS_setgroups, 0, nullptr) != 0) return ErrnoError(errno, "setgroups");
  if (syscall(SYS_setresgid, 0, 0, 0) != 0) return ErrnoError(errno, "setresgid 0");
  if (syscall(SYS_setresuid, 0, 0, 0) != 0) return ErrnoError(errno, "setresuid 0");
  // A change of user has set it to what fs.suid_dumpable says.
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return ErrnoError(errno, "PR_SET_DUMPABLE");
  return absl::OkStatus();
}

absl::Status EnterUserNamespace(int userns) {
  RETURN_IF_ERROR(JoinNamespaces(userns, CLONE_NEWUSER, "user"));
  return BecomeNamespaceRoot();
}

}  // namespace berth::sys
