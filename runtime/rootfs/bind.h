// Detached binds of host paths, made in the daemon's mount namespace, for volumes. Thread-safe.
// Blocking.
#pragma once

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
};

struct Bind {
  sys::UniqueFd mount;  // recursive
  bool file = false;    // anything but a directory
};

// Errors, all naming the host path:
//   NotFound             it does not exist
//   InvalidArgument      not absolute; recursive_readonly without readonly or with a propagation
//   other than private
//                        (the message holds "RROUnsupported")
//   FailedPrecondition   kHostToContainer and the mount it lies on is neither shared nor slave;
//   kBidirectional and it is
//                        not shared
absl::StatusOr<Bind> OpenBind(const BindRequest& request);

}  // namespace berth::rootfs
