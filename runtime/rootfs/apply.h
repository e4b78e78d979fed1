// Puts a container's file system together from a plan: the shim's side, in the container's forked
// child, between clone and exec. Single-threaded; linked into the static shim.
#pragma once

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/container/step_timer.h"
#include "runtime/rootfs/terminal.h"
#include "shim/v1/shim.pb.h"

namespace berth::rootfs {

// The caller is in its new mount namespace, whose mounts are all private and whose root is a
// template without host mounts, and in the container's pid, network, ipc, uts and cgroup
// namespaces, with all capabilities. `fds` are what the plan's *_fd and fd fields index. On success
// root and working directory are the container's; the template is unmounted. On error the mount
// namespace is of no further use and the caller exits.
//
// Every target is resolved beneath the rootfs descriptor and made when missing, through symlinks as
// chroot(2) would read them; no path of the container is ever resolved from the template or the
// host.
//
// With plan.process.tty and `terminal` given, a pty pair is put into it and the slave is bound at
// /dev/console. If terminal->master is set already (a pty of another devpts) its slave is used
// instead.
//
// Errors: InvalidArgument for a plan with an index outside `fds`; FailedPrecondition for a rootfs
// that is not what it has to be (/proc or /sys no directory, a mount beneath /proc that is not
// allowed, a device that is none); everything else is the errno of the failing call with the step's
// target.
absl::Status Apply(const shim::v1::ContainerPlan& plan, absl::Span<const int> fds, StepTimer& timer,
                   Terminal* terminal = nullptr);

}  // namespace berth::rootfs
