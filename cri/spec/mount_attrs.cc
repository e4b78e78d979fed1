#include "cri/spec/mount_attrs.h"

#include <linux/mount.h>

namespace berth::spec {

absl::StatusOr<uint64_t> MountAttrs(const state::v1::Mount& mount) {
  uint64_t attrs = 0;
  for (const std::string& option : mount.mount_options()) {
    if (option == "noexec") {
      attrs |= MOUNT_ATTR_NOEXEC;
    } else if (option == "nodev") {
      attrs |= MOUNT_ATTR_NODEV;
    } else if (option == "nosuid") {
      attrs |= MOUNT_ATTR_NOSUID;
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("mounts.mount_options: '", option, "' is none of noexec, nodev, nosuid"));
    }
  }
  return attrs;
}

}  // namespace berth::spec
