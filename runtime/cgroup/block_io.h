// Weights and throttles of block devices, as files of cgroup v1 (blkio.*) and v2 (io.*). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace berth::cgroup {

struct FileWrite;

// nullopt = leave as it is.
struct BlockDeviceIo {
  uint32_t major = 0;
  uint32_t minor = 0;
  std::optional<uint32_t> weight;                 // 10 … 1000, as in v1
  std::optional<uint64_t> read_bps, write_bps;    // bytes each second
  std::optional<uint64_t> read_iops, write_iops;  // operations each second
};

struct BlockIo {
  std::optional<uint32_t> weight;  // of devices that are not listed
  std::vector<BlockDeviceIo> devices;
};

// A weight's file may be missing: it is there only for I/O schedulers that know weights, under the name of the one that
// the kernel was built with. Throttles need the controller.
void AddBlockIoV1(const BlockIo& io, std::vector<FileWrite>& out);
void AddBlockIoV2(const BlockIo& io, std::vector<FileWrite>& out);

// io.weight (1 … 10000) for a weight of v1 (10 … 1000): the straight line through (10, 1) and (1000, 10000), which is
// what runc and crun write.
uint64_t IoWeight(uint32_t weight);

}  // namespace berth::cgroup
