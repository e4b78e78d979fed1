// A mount namespace that shows nothing, for what the kernel does only with mounts that are attached somewhere. What
// is attached in it is in no mount table of the host's.
#pragma once

#include <functional>
#include <utility>

#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// Thread-safe. One descriptor; the namespace ends with it.
class ScratchNamespace {
 public:
  // Needs CAP_SYS_ADMIN and CAP_SYS_CHROOT, as Run does. The caller's namespace and directories stay as they are.
  static absl::StatusOr<ScratchNamespace> Make();

  // Runs `body` in a thread of its own, in a copy of the namespace that is the thread's alone. Its working directory is
  // an empty tmpfs; when `body` returns, that is detached with all that was attached below it. Detached mounts of the
  // caller's can be attached there, and cloned while they are; descriptors are those of the process. Directories of
  // the host can be reached by descriptor, but not cloned: they are not in this namespace. Returns what `body` did.
  absl::Status Run(const std::function<absl::Status()>& body) const;

 private:
  explicit ScratchNamespace(sys::UniqueFd ns) : ns_(std::move(ns)) {}
  sys::UniqueFd ns_;
};

}  // namespace berth::image
