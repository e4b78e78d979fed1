// What a cgroup allows, and the cgroupfs files that say so. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/block_io.h"

namespace berth::cgroup {

// Everything that no rule allows is refused.
struct DeviceRule {
  char type = 'a';                // 'a' (both), 'b', 'c'
  std::optional<uint32_t> major;  // nullopt = any
  std::optional<uint32_t> minor;
  std::string access = "rwm";
  friend bool operator==(const DeviceRule&, const DeviceRule&) = default;
};

// mknod of anything; null, zero, full, random, urandom, tty, ptmx, every pty.
std::vector<DeviceRule> DefaultDeviceRules();
// One rule that allows everything: privileged containers.
std::vector<DeviceRule> AllDeviceRules();

// nullopt or empty = leave as it is.
struct Limits {
  std::optional<uint64_t> cpu_shares;  // as in v1, 2 … 262144
  std::optional<int64_t> cpu_quota;    // µs in each period; -1 = unlimited
  std::optional<uint64_t> cpu_period;  // µs
  std::string cpuset_cpus;             // "0-3,7"
  std::string cpuset_mems;
  std::optional<int64_t> memory;               // bytes; -1 = unlimited
  std::optional<int64_t> memory_swap;          // bytes of memory and swap together; nullopt = as memory: no swap
  std::optional<int64_t> pids;                 // -1 = unlimited
  std::map<std::string, uint64_t> hugepages;   // "2MB" -> bytes
  std::map<std::string, std::string> unified;  // v2 only: "memory.high" -> "1000000"
  std::optional<std::vector<DeviceRule>> devices;
  std::optional<BlockIo> block_io;
};

// One write to one file of a cgroup's directory.
struct FileWrite {
  std::string controller;
  std::string file;
  std::string value;
  std::string field;                 // of the request, for messages
  bool optional = false;             // the file may be missing
  bool controller_optional = false;  // its whole controller may be; where that is, the file has to be too
  friend bool operator==(const FileWrite&, const FileWrite&) = default;
};

// In the order of writing, `unified` last. InvalidArgument naming the field: a value outside of its range, a swap limit
// below the memory limit, a page size or unified key that is malformed; FailedPrecondition: `unified` on v1. Device
// rules of v2 are a program, not a file.
absl::StatusOr<std::vector<FileWrite>> PlanV1(const Limits& limits);
absl::StatusOr<std::vector<FileWrite>> PlanV2(const Limits& limits);

// cpu.weight (1 … 10000) for cpu.shares (2 … 262144): the curve through (2, 1), (1024, 100) and
// (262144, 10000) that runc and crun use since 2025: 10^((l² + 125·l) / 612 - 7/34) with l =
// log2(shares), rounded up. Before, a straight line gave 1024 shares a weight of 39, well below the
// 100 of a cgroup that nobody configured.
uint64_t WeightOfShares(uint64_t shares);

// The writes that make a file, which `write` is about to change, what its text `present` says: those that have to be
// done again when a change is taken back. None for a file that cannot be restored so.
std::vector<FileWrite> PlanRestore(const FileWrite& write, absl::string_view present);

}  // namespace berth::cgroup
