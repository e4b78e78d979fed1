// The end of a seccomp listener's way: from the process that loads the program to the agent that answers for it.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/container/spawn.h"
#include "runtime/sys/unique_fd.h"
#include "shim/v1/shim.pb.h"

namespace berth::shim {

class SeccompListener {
 public:
  SeccompListener() = default;
  // Takes the agent's socket out of `fds`, and the mailbox. A process whose program does not notify: empty.
  SeccompListener(const v1::Process& process, std::vector<sys::UniqueFd>& fds, container::Spawned& spawned);

  // Once the process has said that it is about to load the program: takes the listener from it and sends it, with the
  // state of the process (`pid`) and of its container (first process `container_pid`), to the agent. Waits for the
  // process, seconds at most. After an error the process has to be killed: it waits for ever.
  absl::Status HandOver(int pidfd, pid_t pid, pid_t container_pid);

 private:
  sys::UniqueFd agent_;
  std::string state_;
  security::ListenerMailbox::Pointer mailbox_;
};

// The OCI runtime-spec's containerProcessState, completed: `state` is its text without pid and fds, in which `state`,
// itself without pid, is the last member. InvalidArgument when it does not end so.
absl::StatusOr<std::string> CompleteProcessState(absl::string_view state, pid_t pid, pid_t container_pid);

}  // namespace berth::shim
