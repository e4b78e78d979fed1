#include "runtime/cgroup/block_io.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/limits.h"

namespace berth::cgroup {
namespace {

constexpr char kField[] = "blockio class";

std::string Number(const BlockDeviceIo& device) { return absl::StrCat(device.major, ":", device.minor); }

}  // namespace

uint64_t IoWeight(uint32_t weight) {
  const uint64_t clamped = std::clamp<uint64_t>(weight, 10, 1000);
  return 1 + (clamped - 10) * 9999 / 990;
}

void AddBlockIoV1(const BlockIo& io, std::vector<FileWrite>& out) {
  const auto add_weight = [&](const std::string& suffix, const std::string& value) {
    for (const char* policy : {"blkio.", "blkio.bfq."}) {
      out.push_back({"blkio", absl::StrCat(policy, suffix), value, kField, true});
    }
  };
  if (io.weight) add_weight("weight", absl::StrCat(*io.weight));
  for (const BlockDeviceIo& d : io.devices) {
    if (d.weight) add_weight("weight_device", absl::StrCat(Number(d), " ", *d.weight));
    const auto throttle = [&](const char* file, const std::optional<uint64_t>& limit) {
      if (limit) out.push_back({"blkio", file, absl::StrCat(Number(d), " ", *limit), kField});
    };
    throttle("blkio.throttle.read_bps_device", d.read_bps);
    throttle("blkio.throttle.write_bps_device", d.write_bps);
    throttle("blkio.throttle.read_iops_device", d.read_iops);
    throttle("blkio.throttle.write_iops_device", d.write_iops);
  }
}

void AddBlockIoV2(const BlockIo& io, std::vector<FileWrite>& out) {
  // bfq takes v1's range, io.cost its own.
  if (io.weight) {
    out.push_back({"io", "io.bfq.weight", absl::StrCat(*io.weight), kField, true});
    out.push_back({"io", "io.weight", absl::StrCat("default ", IoWeight(*io.weight)), kField, true});
  }
  for (const BlockDeviceIo& d : io.devices) {
    if (d.weight) {
      out.push_back({"io", "io.bfq.weight", absl::StrCat(Number(d), " ", *d.weight), kField, true});
      out.push_back({"io", "io.weight", absl::StrCat(Number(d), " ", IoWeight(*d.weight)), kField, true});
    }
    std::string limits;
    const auto add = [&](const char* key, const std::optional<uint64_t>& limit) {
      if (limit) absl::StrAppend(&limits, " ", key, "=", *limit);
    };
    add("rbps", d.read_bps);
    add("wbps", d.write_bps);
    add("riops", d.read_iops);
    add("wiops", d.write_iops);
    if (!limits.empty()) out.push_back({"io", "io.max", absl::StrCat(Number(d), limits), kField});
  }
}

}  // namespace berth::cgroup
