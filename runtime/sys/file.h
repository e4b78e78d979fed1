// Files and directories, always by descriptor. What comes from an image, a pod or a container is resolved beneath
// a directory descriptor (openat2(2)); a host path that an administrator wrote may be opened by name.
// All functions: close-on-exec, retried on EINTR, errors carry errno and the path. Thread-safe. Blocking.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// openat(2) by name, O_CLOEXEC added. `dir` may be AT_FDCWD.
absl::StatusOr<UniqueFd> OpenAt(int dir, absl::string_view path, int flags, mode_t mode = 0);
inline absl::StatusOr<UniqueFd> Open(absl::string_view path, int flags, mode_t mode = 0) {
  return OpenAt(AT_FDCWD, path, flags, mode);
}

// openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS: `root` is the root of every absolute path and symlink
// met on the way, ".." stops there. This is how a path inside a rootfs or a layer is opened.
absl::StatusOr<UniqueFd> OpenInRoot(int root, absl::string_view path, int flags, mode_t mode = 0);

// openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS: anything that would leave `dir`,
// and any symlink, is an error (EXDEV, ELOOP). This is how our own state and log files are opened.
absl::StatusOr<UniqueFd> OpenBeneath(int dir, absl::string_view path, int flags, mode_t mode = 0);

// As OpenBeneath, without crossing into another mount: what is mounted over `path`, or on the way, is EXDEV.
absl::StatusOr<UniqueFd> OpenOnMount(int dir, absl::string_view path, int flags);

// Makes a directory and its missing parents inside `root` as OpenInRoot resolves them and returns it opened O_PATH.
// Existing directories keep their mode; new ones get `mode`. ENOTDIR when a component is something else.
absl::StatusOr<UniqueFd> MakeDirsInRoot(int root, absl::string_view path, mode_t mode);

// mkdir -p by host path, for our own directories.
absl::Status MakeDirs(absl::string_view path, mode_t mode);

// Up to `limit` bytes; more is ResourceExhausted. Only regular files (and procfs/sysfs/cgroupfs ones, which are).
absl::StatusOr<std::string> ReadFd(int fd, size_t limit, absl::string_view name);
absl::StatusOr<std::string> ReadFileAt(int dir, absl::string_view path, size_t limit = 1 << 20);
inline absl::StatusOr<std::string> ReadFile(absl::string_view path, size_t limit = 1 << 20) {
  return ReadFileAt(AT_FDCWD, path, limit);
}

// All of `data` in as many write(2) calls as it takes.
absl::Status WriteAll(int fd, absl::string_view data, absl::string_view name);
// One write(2) to an existing file: for cgroupfs, procfs and sysctl files.
absl::Status WriteFileAt(int dir, absl::string_view path, absl::string_view data);
// Temporary file in `dir`, then rename over `name`: readers see the old or the new content, never half of one.
// Not synced: for state that a power cut ends anyway. A failure leaves the old content, a kill perhaps ".NAME.new" too.
absl::Status ReplaceFileAt(int dir, absl::string_view name, absl::string_view data, mode_t mode);

absl::StatusOr<std::vector<std::string>> ListDir(int dir);
// Removes a tree beneath `dir` without following symlinks or crossing mounts, however deep it is. OK when it is not
// there. When `stop` becomes true the rest stays: Cancelled.
absl::Status RemoveTreeAt(int dir, absl::string_view name, const std::atomic<bool>* stop = nullptr);
absl::StatusOr<struct stat> StatFd(int fd, absl::string_view name);

}  // namespace berth::sys
