// Directories of layers as a user namespace sees them: through mounts that map the ids. Nothing on disk is changed.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

// FailedPrecondition, for what the kernel or the file system cannot: `why` is what it said.
absl::Status CannotMapIds(const absl::Status& why);

class MappedDirs {
 public:
  // Detached mounts of `dirs`, in their order; with `userns` -1 the directories themselves, borrowed.
  // FailedPrecondition when the kernel or the file system maps no ids.
  static absl::StatusOr<MappedDirs> Map(absl::Span<const int> dirs, int userns);

  absl::Span<const int> Get() const { return fds_; }

 private:
  std::vector<int> fds_;
  std::vector<sys::UniqueFd> owned_;
};

// Gives `dir`, an empty directory with the owner of `like`, to the owner that `like` has in `userns`. Does nothing when
// it was given away before.
absl::Status GiveToMappedOwner(int dir, int like, int userns);

}  // namespace berth::image
