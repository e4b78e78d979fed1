// The mount API by descriptors (fsopen(2), open_tree(2), move_mount(2), mount_setattr(2); Linux 5.2 and 5.12).
// A mount made here is detached: it is in nobody's mount table until move_mount attaches it, and it is gone when
// its last descriptor is closed. Thread-safe.
#pragma once

#include <linux/mount.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// One fsconfig(2) step: a flag (no value), a string, or a descriptor.
struct FsOption {
  std::string key;
  std::string value;  // empty and fd < 0: a flag such as "ro" or "volatile"
  int fd = -1;        // FSCONFIG_SET_FD / SET_STRING is chosen by which of the two is set
  static FsOption Flag(absl::string_view key) { return {std::string(key), "", -1}; }
  static FsOption String(absl::string_view key, absl::string_view value) {
    return {std::string(key), std::string(value), -1};
  }
  static FsOption Fd(absl::string_view key, int fd) { return {std::string(key), "", fd}; }
};

// A new detached mount of file system `type`; `attrs` are MOUNT_ATTR_*. The kernel's own log of the context is part
// of the error message.
absl::StatusOr<UniqueFd> MountDetached(absl::string_view type, absl::Span<const FsOption> options, uint64_t attrs);

// Options, none of them a descriptor, as mount(2) takes them. A value with commas is quoted, as the security modules
// want it: they separate the categories of an SELinux label.
std::string JoinOptions(absl::Span<const FsOption> options);

// mount(2): attaches a new mount to `target`, a path, in the caller's mount namespace. Its options may take a page,
// where a string of MountDetached ends at 255 bytes; E2BIG beyond. No option takes a descriptor.
absl::Status MountByPath(absl::string_view type, absl::Span<const FsOption> options, absl::string_view target);

// A detached clone (bind mount) of what `path` beneath `dir` names; an empty path clones `dir` itself. `recursive`
// takes the mounts below it too.
absl::StatusOr<UniqueFd> CloneTree(int dir, absl::string_view path, bool recursive);

// Attaches a detached mount to the directory or file that `target` (O_PATH or not) is.
absl::Status AttachMount(int mount, int target, absl::string_view name);

// Takes an attached mount, and what is mounted beneath it, out of the mount table (MNT_DETACH). The descriptor stays
// good.
absl::Status DetachMount(int mount, absl::string_view name);

// Takes all that is mounted at `path`, and beneath it, out of the mount table (MNT_DETACH), without following a link.
// Several mounts may lie there, one over the other. OK when there is none.
absl::Status UnmountPath(absl::string_view path);

// mount_setattr(2) on a mount descriptor. `propagation` is 0 or one of MS_PRIVATE, MS_SLAVE, MS_SHARED.
absl::Status SetMountAttrs(int mount, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive);

// Maps the ids of a detached mount as the user namespace `userns` maps them: what is `inside` on disk shows as
// `outside`. The mount alone, not those below it. EINVAL: the file system cannot (Linux 5.12, and by file system), or
// the mount has a mapping already.
absl::Status MapMountIds(int mount, int userns);

}  // namespace berth::sys
