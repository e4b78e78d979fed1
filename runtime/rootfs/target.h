// Mount targets inside a rootfs: found, or made when missing. Linked into the static shim.
// `root` is a descriptor of the rootfs; whatever the path and the symlinks in it say, nothing
// outside of `root` is reached. A dangling symlink is followed and what it names is made, as if
// inside a chroot. Errors: ENOTDIR/EISDIR when something of the other type is there, ELOOP after 16
// symlinks or at a magic link.
#pragma once

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::rootfs {

// The directory, opened O_PATH. New directories get mode 0755 (less the umask).
absl::StatusOr<sys::UniqueFd> MakeTargetDir(int root, absl::string_view path);

// The file (anything but a directory), opened O_PATH. A new one is empty, mode 0644.
absl::StatusOr<sys::UniqueFd> MakeTargetFile(int root, absl::string_view path);

}  // namespace berth::rootfs
