// Detached binds of host paths, made in the daemon's mount namespace, for volumes. Thread-safe.
// Blocking.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::rootfs {

enum class Propagation { kPrivate, kHostToContainer, kBidirectional };

struct BindRequest {
  std::string host_path;  // symlinks are followed
  bool readonly = false;  // of the top mount; with recursive_readonly also of all mounts beneath it
  bool recursive_readonly = false;
  Propagation propagation = Propagation::kPrivate;
  uint64_t attrs = 0;  // MOUNT_ATTR_NOEXEC, _NODEV, _NOSUID: of the top mount, added to what it has
};

struct Bind {
  sys::UniqueFd mount;  // recursive
  bool file = false;    // anything but a directory
};

// FailedPrecondition, naming the host path: kHostToContainer and the mount it lies on is neither shared nor slave;
// kBidirectional and it is not shared. NotFound: it does not exist.
absl::Status CheckPropagation(const BindRequest& request);

// Errors, all naming the host path:
//   NotFound             it does not exist
//   InvalidArgument      not absolute; recursive_readonly without readonly or with a propagation
//   other than private
//                        (the message holds "RROUnsupported")
//   Unimplemented        the kernel has no mount_setattr(2) (before Linux 5.12)
// Whether the source takes the propagation is not looked at: a private mount would not pass anything on.
absl::StatusOr<Bind> OpenBind(const BindRequest& request);

}  // namespace berth::rootfs
