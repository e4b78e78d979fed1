// The terminal of a container: a pty of its own devpts.
#pragma once

#include <sys/types.h>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::container {

struct Console {
  sys::UniqueFd master;
  sys::UniqueFd slave;
};

// Opens a pty in the devpts at /dev/pts of the caller's root, gives it to `uid`, and binds its slave over /dev/console.
// The slave is taken from the master itself, never by its name, which the image could have put a link at.
absl::StatusOr<Console> MakeConsole(uid_t uid);

// Makes `slave` the controlling terminal of the caller, who leads a session.
absl::Status TakeTerminal(int slave);

}  // namespace berth::container
