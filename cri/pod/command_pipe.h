// A pipe between the daemon and a command in a container.
#pragma once

#include <sys/types.h>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::pod {

struct CommandPipe {
  sys::UniqueFd ours;    // non-blocking
  sys::UniqueFd theirs;  // an ordinary one
};

enum class PipeFlow { kToCommand, kFromCommand };

// Both ends close-on-exec, owned by `uid` and `gid` of the host: the command's user, who may open /dev/stdout anew.
absl::StatusOr<CommandPipe> MakeCommandPipe(PipeFlow flow, uid_t uid, gid_t gid);
// For a client at the other side, whose bytes come and go in bursts: holds 1 MiB, if the kernel gives so much.
void Enlarge(const CommandPipe& pipe);

}  // namespace berth::pod
