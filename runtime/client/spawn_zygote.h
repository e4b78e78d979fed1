// Starting the zygote from a process of any size.
#pragma once

#include <sys/types.h>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::client {

struct ZygoteProcess {
  pid_t pid = 0;
  sys::UniqueFd pidfd;
  sys::UniqueFd socket;  // launches go here; the zygote ends when it is closed
};

// Executes the sealed `image` with vfork semantics and waits until it serves. The zygote gets SIGKILL when the calling
// thread ends: it has to be one that lives as long as the launcher.
absl::StatusOr<ZygoteProcess> SpawnZygote(int image);

}  // namespace berth::client
