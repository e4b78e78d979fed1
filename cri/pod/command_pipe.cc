#include "cri/pod/command_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace berth::pod {
namespace {

constexpr int kLargePipe = 1 << 20;

}  // namespace

absl::StatusOr<CommandPipe> MakeCommandPipe(PipeFlow flow, uid_t uid, gid_t gid) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe2");
  CommandPipe pipe{sys::UniqueFd(fds[0]), sys::UniqueFd(fds[1])};
  if (flow == PipeFlow::kToCommand) std::swap(pipe.ours, pipe.theirs);
  if (fchown(fds[0], uid, gid) != 0) return ErrnoError(errno, "chown of a pipe");
  if (fcntl(pipe.ours.get(), F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "fcntl");
  return pipe;
}

void Enlarge(const CommandPipe& pipe) { fcntl(pipe.ours.get(), F_SETPIPE_SZ, kLargePipe); }

}  // namespace berth::pod
