// Classes of block I/O: how an administrator names sets of weights and throttles that pods may ask for by annotation.
// The file is that of goresctrl, which containerd and CRI-O read:
//   Classes:
//     slow:
//     - Weight: 80                        # of all devices that nothing below names
//     - Devices: ["/dev/sd[a-z]"]         # glob patterns
//       ThrottleReadBps: 50M              # ThrottleWriteBps, ThrottleReadIOPS, ThrottleWriteIOPS
//       Weight: 50                        # 10 … 1000
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/block_io.h"

namespace berth::spec {

struct BlockIoEntry {
  std::vector<std::string> devices;  // patterns; empty = the class's weight
  std::optional<uint32_t> weight;
  std::optional<uint64_t> read_bps, write_bps, read_iops, write_iops;
};

using BlockIoClasses = std::map<std::string, std::vector<BlockIoEntry>>;

// InvalidArgument naming class and key for an unknown key or a value out of range. Keys in any case.
absl::StatusOr<BlockIoClasses> ParseBlockIoClasses(absl::string_view yaml);
// Reads the file, at most 1 MiB.
absl::StatusOr<BlockIoClasses> LoadBlockIoClasses(const std::string& path);

// "50M", "1Gi", "7": Kubernetes quantities without fractions.
absl::StatusOr<uint64_t> ParseAmount(absl::string_view text);

struct DeviceNumber {
  uint32_t major = 0;
  uint32_t minor = 0;
  auto operator<=>(const DeviceNumber&) const = default;
};
// The block devices that a pattern matches.
using FindDevices = std::function<std::vector<DeviceNumber>(const std::string& pattern)>;
// On this machine: glob(7), symlinks followed.
std::vector<DeviceNumber> FindBlockDevices(const std::string& pattern);

// What a class means for the devices that are there now; of two entries that match one device the later one counts
// alone.
cgroup::BlockIo ResolveBlockIo(const std::vector<BlockIoEntry>& entries, const FindDevices& find);

}  // namespace berth::spec
