// Terminals of a container's own devpts, so that ttyname(3) finds them there. Linked into the static shim.
#pragma once

#include <sys/types.h>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::rootfs {

struct Terminal {
  sys::UniqueFd master;  // the child sends it to the shim (SCM_RIGHTS) and closes it
  sys::UniqueFd slave;   // for the child's standard streams; owned by the process's user
};

// A new pair from /dev/pts beneath `root`, whose slave belongs to `owner`. Nothing there is trusted: FailedPrecondition
// when /dev/pts is no devpts, or its ptmx is not the one that every devpts has; neither a symlink nor what is mounted
// over it is ever opened. With a master in `terminal` already (of any devpts) its slave is opened.
absl::Status OpenTerminal(int root, uid_t owner, Terminal& terminal);

}  // namespace berth::rootfs
