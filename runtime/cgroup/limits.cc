#include "runtime/cgroup/limits.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace berth::cgroup {
namespace {

constexpr uint64_t kDefaultPeriod = 100000;

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

// The checks that both versions share.
absl::Status Validate(const Limits& l) {
  if (l.cpu_quota && *l.cpu_quota != -1 && *l.cpu_quota < 1000) return Bad("cpu_quota", "below 1000 µs");
  if (l.cpu_period && (*l.cpu_period < 1000 || *l.cpu_period > 1000000)) {
    return Bad("cpu_period", "not within 1000 and 1000000 µs");
  }
  if (l.memory && *l.memory < -1) return Bad("memory_limit_in_bytes", "negative");
  if (l.memory_swap && *l.memory_swap < -1) return Bad("memory_swap_limit_in_bytes", "negative");
  if (l.memory_swap && *l.memory_swap != -1) {
    if (!l.memory) return Bad("memory_swap_limit_in_bytes", "given without memory_limit_in_bytes");
    if (*l.memory == -1 || *l.memory_swap < *l.memory) {
      return Bad("memory_swap_limit_in_bytes", "below memory_limit_in_bytes");
    }
  }
  if (l.pids && (*l.pids == 0 || *l.pids < -1)) return Bad("pids_limit", "has to be positive or -1");
  for (const auto& [field, list] :
       {std::pair<const char*, const std::string&>{"cpuset_cpus", l.cpuset_cpus}, {"cpuset_mems", l.cpuset_mems}}) {
    for (char c : list) {
      if (!absl::ascii_isdigit(c) && c != '-' && c != ',') return Bad(field, absl::StrCat("'", list, "' is no list"));
    }
  }
  for (const auto& [size, bytes] : l.hugepages) {
    absl::string_view rest = size;
    while (!rest.empty() && absl::ascii_isdigit(rest[0])) rest.remove_prefix(1);
    if (rest.size() == size.size() || (rest != "KB" && rest != "MB" && rest != "GB")) {
      return Bad("hugepage_limits", absl::StrCat("page size '", size, "'"));
    }
  }
  return absl::OkStatus();
}

std::string OrMax(int64_t value) { return value == -1 ? "max" : absl::StrCat(value); }

void AddHugepages(const Limits& l, absl::string_view suffix, absl::string_view rsvd_suffix,
                  std::vector<FileWrite>& out) {
  for (const auto& [size, bytes] : l.hugepages) {
    const std::string value = absl::StrCat(bytes);
    // A limit of no pages is what every pod has that asks for none, also where there is no
    // controller to say so.
    out.push_back(
        {"hugetlb", absl::StrCat("hugetlb.", size, ".", suffix), value, "hugepage_limits", false, bytes == 0});
    out.push_back({"hugetlb", absl::StrCat("hugetlb.", size, ".", rsvd_suffix), value, "hugepage_limits", true, true});
  }
}

// "memory.high": a controller and a file name, nothing that could name another directory.
absl::Status ValidateUnifiedKey(const std::string& key) {
  bool dot = false;
  for (size_t i = 0; i < key.size(); ++i) {
    const char c = key[i];
    if (c == '.' && i > 0 && i + 1 < key.size() && key[i - 1] != '.') {
      dot = true;
    } else if (!absl::ascii_isalnum(c) && c != '_' && c != '-') {
      return Bad("unified", absl::StrCat("key '", key, "'"));
    }
  }
  // cgroup.* files are the runtime's own: they move and kill processes.
  if (!dot || absl::StartsWith(key, "cgroup.")) return Bad("unified", absl::StrCat("key '", key, "'"));
  return absl::OkStatus();
}

std::string DeviceNumber(const std::optional<uint32_t>& n) { return n ? absl::StrCat(*n) : "*"; }

std::string DeviceLine(const DeviceRule& rule) {
  return absl::StrCat(absl::string_view(&rule.type, 1), " ", DeviceNumber(rule.major), ":", DeviceNumber(rule.minor),
                      " ", rule.access);
}

absl::Status AddDevicesV1(const std::vector<DeviceRule>& rules, std::vector<FileWrite>& out) {
  const bool all = std::find(rules.begin(), rules.end(), DeviceRule{}) != rules.end();
  out.push_back({"devices", all ? "devices.allow" : "devices.deny", "a", "devices"});
  if (all) return absl::OkStatus();
  for (const DeviceRule& rule : rules) {
    if (rule.type != 'a') {
      out.push_back({"devices", "devices.allow", DeviceLine(rule), "devices"});
      continue;
    }
    // "a" with numbers means everything to the kernel.
    for (char type : {'b', 'c'}) {
      DeviceRule one = rule;
      one.type = type;
      out.push_back({"devices", "devices.allow", DeviceLine(one), "devices"});
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<DeviceRule> DefaultDeviceRules() {
  return {{'b', {}, {}, "m"}, {'c', {}, {}, "m"}, {'c', 1, 3}, {'c', 1, 5}, {'c', 1, 7},
          {'c', 1, 8},        {'c', 1, 9},        {'c', 5, 0}, {'c', 5, 2}, {'c', 136, {}}};
}

std::vector<DeviceRule> AllDeviceRules() { return {DeviceRule{}}; }

uint64_t WeightOfShares(uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  const double l = std::log2(static_cast<double>(shares));
  return static_cast<uint64_t>(std::ceil(std::pow(10, (l * l + 125 * l) / 612.0 - 7.0 / 34.0)));
}

absl::StatusOr<std::vector<FileWrite>> PlanV1(const Limits& l) {
  RETURN_IF_ERROR(Validate(l));
  if (!l.unified.empty()) return absl::FailedPreconditionError("unified: this machine has cgroup v1");
  std::vector<FileWrite> out;
  if (l.cpu_shares) {
    const uint64_t shares = std::clamp<uint64_t>(*l.cpu_shares, 2, 262144);
    out.push_back({"cpu", "cpu.shares", absl::StrCat(shares), "cpu_shares"});
  }
  if (l.cpu_period) out.push_back({"cpu", "cpu.cfs_period_us", absl::StrCat(*l.cpu_period), "cpu_period"});
  if (l.cpu_quota) out.push_back({"cpu", "cpu.cfs_quota_us", absl::StrCat(*l.cpu_quota), "cpu_quota"});
  if (!l.cpuset_cpus.empty()) out.push_back({"cpuset", "cpuset.cpus", l.cpuset_cpus, "cpuset_cpus"});
  if (!l.cpuset_mems.empty()) out.push_back({"cpuset", "cpuset.mems", l.cpuset_mems, "cpuset_mems"});
  if (l.memory) {
    out.push_back({"memory", "memory.limit_in_bytes", absl::StrCat(*l.memory), "memory_limit_in_bytes"});
    // Without swap accounting there is no such file, and no way to limit swap.
    out.push_back({"memory", "memory.memsw.limit_in_bytes", absl::StrCat(l.memory_swap.value_or(*l.memory)),
                   "memory_swap_limit_in_bytes", true});
  } else if (l.memory_swap) {
    out.push_back(
        {"memory", "memory.memsw.limit_in_bytes", absl::StrCat(*l.memory_swap), "memory_swap_limit_in_bytes", true});
  }
  if (l.pids) out.push_back({"pids", "pids.max", OrMax(*l.pids), "pids_limit"});
  AddHugepages(l, "limit_in_bytes", "rsvd.limit_in_bytes", out);
  if (l.devices) RETURN_IF_ERROR(AddDevicesV1(*l.devices, out));
  if (l.block_io) AddBlockIoV1(*l.block_io, out);
  return out;
}

absl::StatusOr<std::vector<FileWrite>> PlanV2(const Limits& l) {
  RETURN_IF_ERROR(Validate(l));
  std::vector<FileWrite> out;
  if (l.cpu_shares) out.push_back({"cpu", "cpu.weight", absl::StrCat(WeightOfShares(*l.cpu_shares)), "cpu_shares"});
  if (l.cpu_quota) {
    out.push_back(
        {"cpu", "cpu.max", absl::StrCat(OrMax(*l.cpu_quota), " ", l.cpu_period.value_or(kDefaultPeriod)), "cpu_quota"});
  } else if (l.cpu_period) {
    out.push_back({"cpu", "cpu.max", absl::StrCat("max ", *l.cpu_period), "cpu_period"});
  }
  if (!l.cpuset_cpus.empty()) out.push_back({"cpuset", "cpuset.cpus", l.cpuset_cpus, "cpuset_cpus"});
  if (!l.cpuset_mems.empty()) out.push_back({"cpuset", "cpuset.mems", l.cpuset_mems, "cpuset_mems"});
  if (l.memory) {
    // v2 counts swap by itself. First the swap, so that a smaller memory limit does not push pages
    // there.
    int64_t swap = *l.memory == -1 ? -1 : l.memory_swap.value_or(*l.memory);
    if (swap != -1) swap -= *l.memory;
    out.push_back({"memory", "memory.swap.max", OrMax(swap), "memory_swap_limit_in_bytes", true});
    out.push_back({"memory", "memory.max", OrMax(*l.memory), "memory_limit_in_bytes"});
  } else if (l.memory_swap) {
    out.push_back({"memory", "memory.swap.max", "max", "memory_swap_limit_in_bytes", true});
  }
  if (l.pids) out.push_back({"pids", "pids.max", OrMax(*l.pids), "pids_limit"});
  AddHugepages(l, "max", "rsvd.max", out);
  if (l.block_io) AddBlockIoV2(*l.block_io, out);
  for (const auto& [key, value] : l.unified) {
    RETURN_IF_ERROR(ValidateUnifiedKey(key));
    out.push_back({key.substr(0, key.find('.')), key, value, absl::StrCat("unified ", key)});
  }
  return out;
}

std::vector<FileWrite> PlanRestore(const FileWrite& write, absl::string_view present) {
  if (write.controller == "devices") return {};
  std::vector<FileWrite> out;
  const auto add = [&](absl::string_view value) {
    out.push_back(write);
    out.back().value = std::string(value);
  };
  std::string devices;
  for (absl::string_view line : absl::StrSplit(present, '\n', absl::SkipEmpty())) {
    add(line);
    absl::StrAppend(&devices, "\n", line.substr(0, line.find(' ')), "\n");
  }
  if (write.file == "io.max") {
    // One line for each device; a device that had none gets one that limits nothing.
    const std::string device = write.value.substr(0, write.value.find(' '));
    if (!absl::StrContains(devices, absl::StrCat("\n", device, "\n"))) {
      add(absl::StrCat(device, " rbps=max wbps=max riops=max wiops=max"));
    }
  } else if (out.empty()) {
    add("\n");  // an empty list; a write of nothing would be none
  }
  return out;
}

}  // namespace berth::cgroup
