// The mounts of a plan on their way into a mount namespace that a user namespace owns. Attached there directly, their
// flags (read-only, nosuid, nodev, noexec) could be taken off again by root inside, who has CAP_SYS_ADMIN over that
// namespace. The kernel locks the flags of mounts that a mount namespace gets by being copied into a lesser user
// namespace (mount_namespaces(7)): so a process of the host's user namespace attaches them in a mount namespace of its
// own, and the child takes them out of its copy. For the shim; single-threaded.
#pragma once

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "shim/v1/shim.pb.h"

namespace berth::rootfs {

// In the caller's new copy of the template's mount namespace: attaches the plan's detached mounts below /mnt, and
// beside them a procfs and a sysfs, since the kernel makes new ones in a user namespace only where such are in full
// sight. All of them are of the template, which the container leaves behind.
absl::Status StageMounts(const shim::v1::ContainerPlan& plan, absl::Span<const int> fds);

// In the child, whose mount namespace is a copy of that one: puts a detached mount with locked flags into each of the
// descriptors.
absl::Status TakeStagedMounts(const shim::v1::ContainerPlan& plan, absl::Span<const int> fds);

}  // namespace berth::rootfs
