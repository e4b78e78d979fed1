#include "cri/spec/sysctls.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace berth::spec {
namespace {

constexpr size_t kMaxValue = 4096;
constexpr char kPortStart[] = "net.ipv4.ip_unprivileged_port_start";
constexpr char kPingGroups[] = "net.ipv4.ping_group_range";

template <typename... Parts>
absl::Status Invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("linux.sysctls: ", parts...));
}

bool IsName(absl::string_view key) {
  const bool letters = std::all_of(key.begin(), key.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("._-/", c);
  });
  if (!letters || key.size() > 255) return false;
  const std::string name = SysctlName(key);
  for (absl::string_view part : absl::StrSplit(name, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

bool IsOfIpc(absl::string_view name) {
  static const std::set<std::string> kNames = {"kernel/msgmax", "kernel/msgmnb",         "kernel/msgmni",
                                               "kernel/sem",    "kernel/shmall",         "kernel/shmmax",
                                               "kernel/shmmni", "kernel/shm_rmid_forced"};
  return absl::StartsWith(name, "fs/mqueue/") || kNames.count(std::string(name)) > 0;
}

absl::Status ValidateKey(absl::string_view key, const state::v1::Namespaces& ns) {
  if (!IsName(key)) return Invalid("'", key, "' is not the name of a sysctl");
  const std::string name = SysctlName(key);
  if (absl::StartsWith(name, "net/")) {
    if (ns.network() == state::v1::NODE) return Invalid(key, " with the host's network would change the host");
  } else if (IsOfIpc(name)) {
    if (ns.ipc() == state::v1::NODE) return Invalid(key, " with the host's IPC would change the host");
  } else {
    return Invalid(key, " is not namespaced");
  }
  return absl::OkStatus();
}

absl::Status ValidateValue(absl::string_view key, absl::string_view value) {
  if (value.empty()) return Invalid("the value of ", key, " is empty");
  if (value.size() > kMaxValue) return Invalid("the value of ", key, " is longer than ", kMaxValue, " bytes");
  if (!std::all_of(value.begin(), value.end(), [](char c) { return c >= ' ' && c <= '~'; })) {
    return Invalid("the value of ", key, " holds control characters or others that are not ASCII");
  }
  return absl::OkStatus();
}

}  // namespace

std::string SysctlName(absl::string_view key) {
  std::string name(key);
  const size_t first = name.find_first_of("./");
  if (first == std::string::npos || name[first] == '/') return name;
  for (char& c : name) {
    if (c == '.' || c == '/') c = c == '.' ? '/' : '.';
  }
  return name;
}

absl::Status ValidateSysctls(const state::v1::PodSpec& pod) {
  std::set<std::string> seen;
  for (const auto& [key, value] : std::map<std::string, std::string>(pod.sysctls().begin(), pod.sysctls().end())) {
    RETURN_IF_ERROR(ValidateKey(key, pod.namespaces()));
    RETURN_IF_ERROR(ValidateValue(key, value));
    if (!seen.insert(SysctlName(key)).second) return Invalid(key, " is given twice, with dots and with slashes");
  }
  return absl::OkStatus();
}

std::vector<Sysctl> PlanSysctls(const state::v1::PodSpec& pod, const SysctlDefaults& defaults) {
  std::vector<Sysctl> out;
  std::set<std::string> given;
  for (const auto& [key, value] : std::map<std::string, std::string>(pod.sysctls().begin(), pod.sysctls().end())) {
    out.push_back({key, value, false});
    given.insert(SysctlName(key));
  }
  const state::v1::Namespaces& ns = pod.namespaces();
  if (ns.network() == state::v1::NODE) return out;
  const auto add = [&](bool wanted, const char* key, const char* value) {
    if (wanted && given.count(SysctlName(key)) == 0) out.push_back({key, value, true});
  };
  add(defaults.unprivileged_ports, kPortStart, "0");
  add(defaults.unprivileged_icmp && ns.uids_size() == 0, kPingGroups, "0 2147483647");
  return out;
}

}  // namespace berth::spec
