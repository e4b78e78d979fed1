#include "image/snapshot/clone_while_attached.h"

#include "runtime/sys/mount.h"

namespace berth::image {

absl::StatusOr<sys::UniqueFd> CloneWhileAttached(int mount, int found, int spare) {
  RETURN_IF_ERROR(sys::AttachMount(mount, spare, "image volume"));
  auto clone = sys::CloneTree(found, "", false);
  RETURN_IF_ERROR(sys::DetachMount(mount, "image volume"));
  return clone;
}

}  // namespace berth::image
