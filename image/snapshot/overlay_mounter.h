// Mounts overlays in the best way that the kernel knows. Thread-safe.
#pragma once

#include <atomic>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "image/snapshot/overlay_options.h"
#include "image/snapshot/scratch_namespace.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

class OverlayMounter {
 public:
  // A detached mount. An errno that IsUnknownStyle where the kernel takes such directories in no way.
  // Mounts of `overlay.lowers`, if `mapped`, may be attached nowhere afterwards, or be gone: they are for one call.
  absl::StatusOr<sys::UniqueFd> Mount(const Overlay& overlay) const;

  // A detached clone of what `found` is, in the detached mount `mount`, which is used up.
  absl::StatusOr<sys::UniqueFd> CloneWithin(int mount, int found) const;

  // As Mount and CloneWithin do it on older kernels: in a mount namespace of nothing else, in a thread of its own.
  absl::StatusOr<sys::UniqueFd> MountAttached(const Overlay& overlay) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<sys::UniqueFd> CloneWhileAttached(int mount, int found) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::StatusOr<sys::UniqueFd> MountIn(LowerStyle style, const Overlay& overlay) const;
  // Made at the first use, and kept.
  absl::StatusOr<const ScratchNamespace*> Scratch() const ABSL_LOCKS_EXCLUDED(mutex_);

  // What this kernel is known to take of plain and of mapped lower directories.
  mutable std::atomic<LowerStyle> plain_ = LowerStyle::kDescriptors, mapped_ = LowerStyle::kDescriptors;
  mutable absl::Mutex mutex_;
  mutable std::unique_ptr<ScratchNamespace> scratch_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace berth::image
