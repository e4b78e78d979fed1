#include "cri/spec/block_io_classes.h"

#include <glob.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cri/cdi/yaml.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::spec {
namespace {

constexpr size_t kMaxFile = 1 << 20;

absl::Status Invalid(absl::string_view where, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", what));
}

absl::StatusOr<std::vector<std::string>> ParsePatterns(const Json& json, const std::string& where) {
  if (!json.is_array()) return Invalid(where, "expected a list of device patterns");
  std::vector<std::string> out;
  for (const Json& item : json) {
    if (!item.is_string() || item.get_ref<const std::string&>().substr(0, 1) != "/") {
      return Invalid(where, "expected absolute paths");
    }
    out.push_back(item.get<std::string>());
  }
  return out;
}

absl::StatusOr<BlockIoEntry> ParseEntry(const Json& json, const std::string& where) {
  if (!json.is_object()) return Invalid(where, "expected a mapping");
  BlockIoEntry entry;
  for (const auto& [key, value] : json.items()) {
    const std::string name = absl::AsciiStrToLower(key), at = absl::StrCat(where, ".", key);
    if (name == "devices") {
      ASSIGN_OR_RETURN(entry.devices, ParsePatterns(value, at));
      continue;
    }
    if (!value.is_string()) return Invalid(at, "expected a number");
    ASSIGN_OR_RETURN(const uint64_t amount, ParseAmount(value.get_ref<const std::string&>()), at);
    if (name == "weight") {
      if (amount < 10 || amount > 1000) return Invalid(at, "not within 10 and 1000");
      entry.weight = static_cast<uint32_t>(amount);
    } else if (name == "throttlereadbps") {
      entry.read_bps = amount;
    } else if (name == "throttlewritebps") {
      entry.write_bps = amount;
    } else if (name == "throttlereadiops") {
      entry.read_iops = amount;
    } else if (name == "throttlewriteiops") {
      entry.write_iops = amount;
    } else {
      return Invalid(at, "unknown key");
    }
  }
  if (entry.devices.empty() && (entry.read_bps || entry.write_bps || entry.read_iops || entry.write_iops)) {
    return Invalid(where, "throttles without Devices");
  }
  return entry;
}

}  // namespace

absl::StatusOr<uint64_t> ParseAmount(absl::string_view text) {
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(text[digits])) ++digits;
  static const std::map<std::string, uint64_t> kUnits = {{"", 1},
                                                         {"k", 1000},
                                                         {"M", 1000000},
                                                         {"G", 1000000000},
                                                         {"T", 1000000000000},
                                                         {"Ki", 1ULL << 10},
                                                         {"Mi", 1ULL << 20},
                                                         {"Gi", 1ULL << 30},
                                                         {"Ti", 1ULL << 40}};
  uint64_t value = 0;
  auto unit = kUnits.find(std::string(text.substr(digits)));
  if (digits == 0 || !absl::SimpleAtoi(text.substr(0, digits), &value) || unit == kUnits.end() ||
      value > UINT64_MAX / unit->second) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a number"));
  }
  return value * unit->second;
}

absl::StatusOr<BlockIoClasses> ParseBlockIoClasses(absl::string_view yaml) {
  ASSIGN_OR_RETURN(Json json, cdi::ParseYaml(yaml));
  BlockIoClasses out;
  if (json.is_null()) return out;
  if (!json.is_object()) return Invalid("document", "expected a mapping");
  for (const auto& [key, classes] : json.items()) {
    if (!absl::EqualsIgnoreCase(key, "classes")) return Invalid(key, "unknown key");
    if (!classes.is_object()) return Invalid(key, "expected a mapping of classes");
    for (const auto& [name, entries] : classes.items()) {
      const std::string where = absl::StrCat(key, ".", name);
      if (!entries.is_array()) return Invalid(where, "expected a list");
      for (const Json& entry : entries) {
        ASSIGN_OR_RETURN(out[name].emplace_back(), ParseEntry(entry, where));
      }
    }
  }
  return out;
}

absl::StatusOr<BlockIoClasses> LoadBlockIoClasses(const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFile(path, kMaxFile));
  ASSIGN_OR_RETURN(BlockIoClasses classes, ParseBlockIoClasses(text), path);
  return classes;
}

std::vector<DeviceNumber> FindBlockDevices(const std::string& pattern) {
  std::vector<DeviceNumber> out;
  glob_t found = {};
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) {
      struct stat st;
      if (stat(found.gl_pathv[i], &st) == 0 && S_ISBLK(st.st_mode)) {
        out.push_back({major(st.st_rdev), minor(st.st_rdev)});
      }
    }
  }
  globfree(&found);
  return out;
}

cgroup::BlockIo ResolveBlockIo(const std::vector<BlockIoEntry>& entries, const FindDevices& find) {
  cgroup::BlockIo out;
  std::map<DeviceNumber, cgroup::BlockDeviceIo> devices;
  for (const BlockIoEntry& e : entries) {
    if (e.devices.empty() && e.weight) out.weight = e.weight;
    for (const std::string& pattern : e.devices) {
      for (const DeviceNumber& d : find(pattern)) {
        devices[d] = {d.major, d.minor, e.weight, e.read_bps, e.write_bps, e.read_iops, e.write_iops};
      }
    }
  }
  for (auto& [number, device] : devices) out.devices.push_back(device);
  return out;
}

}  // namespace berth::spec
