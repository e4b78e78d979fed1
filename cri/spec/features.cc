#include "cri/spec/features.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "runtime/sys/mount.h"

namespace berth::spec {
namespace {

// mount_setattr(2) with AT_RECURSIVE, Linux 5.12.
bool CanSetAttrsRecursively() {
  auto mount = sys::MountDetached("tmpfs", {}, 0);
  return mount.ok() && sys::SetMountAttrs(mount->get(), MOUNT_ATTR_RDONLY, 0, 0, true).ok();
}

bool CanSetOptions() {
  constexpr uint64_t kOptions = MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
  auto mount = sys::MountDetached("tmpfs", {}, 0);
  return mount.ok() && sys::SetMountAttrs(mount->get(), kOptions, 0, 0, false).ok();
}

}  // namespace

Features ProbeFeatures() {
  Features out;
  out.recursive_read_only = CanSetAttrsRecursively();
  out.mount_options = CanSetOptions();
  return out;
}

}  // namespace berth::spec
