// Who a process is and what it may do: the shim's side, in the forked child, right before exec. Raw
// system calls only; linked into the static shim. Single-threaded.
#pragma once

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/security/listener.h"
#include "shim/v1/shim.pb.h"

namespace berth::security {

// The AppArmor profile and the SELinux label of the next exec, of the caller's or of a child's that it clones.
// `procfs` is one of our own (runtime/sys/procfs.h), never the container's. NotFound when the host lacks the module.
absl::Status SetExecLabels(const shim::v1::Process& process, int procfs);

// In this order: session keyring, rlimits, umask, groups, bounding set, ids, capability sets, ambient
// set, no_new_privs, and last the seccomp program. After it only execve is to be called: what the
// program refuses is refused to the caller too. The signal of PR_SET_PDEATHSIG, which a change of
// ids clears, is kept.
//
// A program that notifies needs `mailbox`: its listener is handed over there, which waits for the
// other side.
//
// Not done here: oom_score_adj, setsid, working directory, descriptors, environment.
//
// Needs all capabilities that the plan gives, CAP_SETUID, CAP_SETGID, CAP_SETPCAP, and
// CAP_SYS_ADMIN when a program is loaded without no_new_privs (it then stays in the permitted set
// until exec, which clears it: the bounding set lacks it). A kernel without keyrings is not an
// error. Errors carry the errno and name the step; InvalidArgument for a seccomp program of odd
// size or a descriptor outside `fds`.
absl::Status ApplyCredentials(const shim::v1::Process& process, absl::Span<const int> fds,
                              ListenerMailbox* mailbox = nullptr);

}  // namespace berth::security
