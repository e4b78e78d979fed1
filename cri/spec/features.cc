#include "cri/spec/features.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "runtime/sys/mount.h"
#include "runtime/sys/procfs.h"
#include "runtime/sys/user_namespace.h"

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

absl::StatusOr<sys::UniqueFd> MakeUserNamespace() {
  ASSIGN_OR_RETURN(sys::UniqueFd procfs, sys::OpenDetachedProcfs());
  const sys::IdRange range = {0, 65536, 65536};  // ids of the host's
  return sys::NewUserNamespace(procfs.get(), {&range, 1}, {&range, 1});
}

// The layers of an image mounted with its ids.
absl::Status TryMapping(image::Store* images) {
  ASSIGN_OR_RETURN(sys::UniqueFd userns, MakeUserNamespace());
  return images ? images->TryMapping(userns.get()) : absl::OkStatus();
}

// The host's /sys as containers would get it.
bool CanBindSys() {
  auto tree = sys::CloneTree(AT_FDCWD, "/sys", true);
  return tree.ok() && sys::SetMountAttrs(tree->get(), MOUNT_ATTR_RDONLY, 0, MS_PRIVATE, true).ok();
}

Features Probe(image::Store* images) {
  Features out;
  out.recursive_read_only = CanSetAttrsRecursively();
  out.mount_options = CanSetOptions();
  const absl::Status userns = TryMapping(images);
  out.user_namespaces = userns.ok();
  out.why_no_user_namespaces = std::string(userns.message());
  out.user_namespaces_host_network = out.user_namespaces && CanBindSys();
  return out;
}

}  // namespace

Features ProbeFeatures(image::Store& images) { return Probe(&images); }
Features ProbeKernelFeatures() { return Probe(nullptr); }

}  // namespace berth::spec
