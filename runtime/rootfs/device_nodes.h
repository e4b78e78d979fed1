// Device nodes for containers: binds of the host's nodes. A bind is read-only as a mount, which
// lets the device be read and written but not be chmod'ed or chown'ed: the inode is the host's.
// Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::rootfs {

struct HostDevice {
  std::string path;  // inside the container
  char type = 'c';   // 'c' or 'b'
  uint32_t major = 0;
  uint32_t minor = 0;
  sys::UniqueFd mount;  // detached bind
  // Of the host's node; the mode is its permission bits.
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
};

class DeviceNodes {
 public:
  // Opens the host's null, zero, full, random, urandom and tty and verifies their numbers. Once for
  // each daemon.
  static absl::StatusOr<DeviceNodes> Open();

  // A new set of detached binds, for one container: a detached mount can be attached only once.
  absl::StatusOr<std::vector<HostDevice>> Clone() const;

 private:
  struct Node {
    std::string path;
    uint32_t major, minor;
    sys::UniqueFd fd;  // O_PATH
  };
  std::vector<Node> nodes_;
};

// The device that `host_path` is (symlinks followed), or every device beneath it when it is a
// directory, at the same place beneath `container_path`. NotFound; InvalidArgument when it is
// neither.
absl::StatusOr<std::vector<HostDevice>> OpenHostDevices(absl::string_view host_path, absl::string_view container_path);

// Everything in /dev but pts, shm, mqueue, console, the default nodes and what is no device: for
// privileged containers.
absl::StatusOr<std::vector<HostDevice>> OpenAllHostDevices();

}  // namespace berth::rootfs
