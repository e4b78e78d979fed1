#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/utsname.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/base/json.h"
#include "runtime/security/capabilities.h"
#include "runtime/security/profile.h"

namespace berth::security {
namespace {

// SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which older headers lack.
constexpr uint32_t kWaitKillableRecv = 1u << 5;

absl::Status Bad(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("seccomp profile: field '", field, "': ", what));
}

// 0 when there is no such name.
int ErrnoNamed(absl::string_view name) {
  for (int number = 1; number < 4096; ++number) {
    const char* known = strerrorname_np(number);
    if (known != nullptr && name == known) return number;
  }
  // Second names of the same number.
  if (name == "EWOULDBLOCK") return EAGAIN;
  if (name == "EDEADLOCK") return EDEADLK;
  return name == "ENOTSUP" || name == "EOPNOTSUPP" ? EOPNOTSUPP : 0;
}

// The error of an action, by number as OCI has it or by name, which then counts.
absl::StatusOr<int64_t> ParseErrno(const Json& object, const char* number_key, const char* name_key,
                                   absl::string_view prefix) {
  ASSIGN_OR_RETURN(std::string name, StringField(object, name_key), "seccomp profile: ", prefix);
  if (name.empty()) {
    auto number = IntField(object, number_key, EPERM);
    RETURN_IF_ERROR(number, "seccomp profile: ", prefix);
    return *number;
  }
  int value = ErrnoNamed(name);
  if (value == 0 && !absl::SimpleAtoi(name, &value)) {
    return Bad(absl::StrCat(prefix, name_key), absl::StrCat("'", name, "' is not the name of an error"));
  }
  return value;
}

absl::StatusOr<uint32_t> ParseAction(absl::string_view name, int64_t errno_ret, absl::string_view field) {
  static const auto* const kActions = new std::map<absl::string_view, uint32_t>{
      {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},      {"SCMP_ACT_LOG", SCMP_ACT_LOG},
      {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD}, {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
      {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},        {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
      {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY},
  };
  if (name == "SCMP_ACT_TRACE") {
    // What the tracer is told, of 16 bits, and no error.
    if (errno_ret < 0 || errno_ret > 0xffff) return Bad(field, absl::StrCat("errno ", errno_ret));
    return SCMP_ACT_TRACE(static_cast<uint32_t>(errno_ret));
  }
  if (errno_ret < 0 || errno_ret > 4095) return Bad(field, absl::StrCat("errno ", errno_ret));
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(static_cast<uint32_t>(errno_ret));
  const auto it = kActions->find(name);
  if (it == kActions->end()) return Bad(field, absl::StrCat("action '", name, "' is not supported"));
  return it->second;
}

absl::StatusOr<int> ParseOperator(absl::string_view name) {
  static const auto* const kOperators =
      new std::map<absl::string_view, int>{{"SCMP_CMP_NE", SCMP_CMP_NE},
                                           {"SCMP_CMP_LT", SCMP_CMP_LT},
                                           {"SCMP_CMP_LE", SCMP_CMP_LE},
                                           {"SCMP_CMP_EQ", SCMP_CMP_EQ},
                                           {"SCMP_CMP_GE", SCMP_CMP_GE},
                                           {"SCMP_CMP_GT", SCMP_CMP_GT},
                                           {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
  const auto it = kOperators->find(name);
  if (it == kOperators->end()) return Bad("syscalls.args.op", absl::StrCat("operator '", name, "' is unknown"));
  return it->second;
}

// Of the specification's list, what a libseccomp may be too old for. Nothing of them runs on a machine that it builds
// programs for.
constexpr absl::string_view kMaybeUnknownArches[] = {"SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",    "SCMP_ARCH_SH",
                                                     "SCMP_ARCH_SHEB",        "SCMP_ARCH_RISCV64", "SCMP_ARCH_PARISC",
                                                     "SCMP_ARCH_PARISC64"};

// "SCMP_ARCH_X86_64" -> its token; 0 for an architecture that this libseccomp does not know.
absl::StatusOr<uint32_t> ParseArch(absl::string_view name) {
  if (!absl::StartsWith(name, "SCMP_ARCH_")) return Bad("architectures", absl::StrCat("'", name, "' is unknown"));
  std::string low(name.substr(10));
  for (char& c : low) c = absl::ascii_tolower(static_cast<unsigned char>(c));
  const uint32_t arch = seccomp_arch_resolve_name(low.c_str());
  if (arch == 0 && absl::c_linear_search(kMaybeUnknownArches, name)) return uint32_t{0};
  if (arch == 0) return Bad("architectures", absl::StrCat("'", name, "' is unknown"));
  return arch;
}

// The member when it is a list (nullptr when it is absent). InvalidArgument when it is something
// else.
absl::StatusOr<const Json*> ListMember(const Json& object, const char* key, absl::string_view field) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return nullptr;
  if (!it->is_array()) return Bad(field, "expected a list");
  return &*it;
}

absl::Status AddArchitectures(const std::vector<std::string>& names, std::set<uint32_t>& out) {
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const uint32_t arch, ParseArch(name));
    if (arch != 0 && arch != seccomp_arch_native()) out.insert(arch);
  }
  return absl::OkStatus();
}

absl::Status ParseArchitectures(const Json& json, SeccompProfile& profile) {
  std::set<uint32_t> arches;
  ASSIGN_OR_RETURN(std::vector<std::string> names, StringListField(json, "architectures"), "seccomp profile");
  RETURN_IF_ERROR(AddArchitectures(names, arches));
  ASSIGN_OR_RETURN(const Json* map, ListMember(json, "archMap", "archMap"));
  for (size_t i = 0; map != nullptr && i < map->size(); ++i) {
    const Json& entry = (*map)[i];
    if (!entry.is_object()) return Bad("archMap", "expected objects");
    ASSIGN_OR_RETURN(std::string main, StringField(entry, "architecture"), "seccomp profile: archMap");
    ASSIGN_OR_RETURN(std::vector<std::string> subs, StringListField(entry, "subArchitectures"),
                     "seccomp profile: archMap");
    ASSIGN_OR_RETURN(const uint32_t arch, ParseArch(main));
    if (arch == seccomp_arch_native()) RETURN_IF_ERROR(AddArchitectures(subs, arches));
  }
  profile.architectures.assign(arches.begin(), arches.end());
  return absl::OkStatus();
}

// "4.8" against the running kernel.
bool KernelAtLeast(const std::string& wanted) {
  utsname name;
  if (wanted.empty() || uname(&name) != 0) return true;
  const std::vector<std::string> have = absl::StrSplit(name.release, '.'), want = absl::StrSplit(wanted, '.');
  for (size_t i = 0; i < 2; ++i) {
    int h = 0, w = 0;
    if (i < want.size()) (void)absl::SimpleAtoi(want[i], &w);
    if (i < have.size())
      (void)absl::SimpleAtoi(absl::string_view(have[i]).substr(0, have[i].find_first_not_of("0123456789")), &h);
    if (h != w) return h > w;
  }
  return true;
}

struct Filter {
  bool caps = true;    // every one of the listed capabilities is there
  bool arches = true;  // ours is listed
  bool kernel = true;
  bool any = false;  // something is listed at all
  bool any_cap = false;
};

const char* GoArch() {
  switch (seccomp_arch_native()) {
    case SCMP_ARCH_X86_64:
      return "amd64";
    case SCMP_ARCH_AARCH64:
      return "arm64";
    case SCMP_ARCH_S390X:
      return "s390x";
    case SCMP_ARCH_PPC64LE:
      return "ppc64le";
    case SCMP_ARCH_RISCV64:
      return "riscv64";
    default:
      return "";
  }
}

absl::StatusOr<Filter> ParseFilter(const Json& rule, const char* key, uint64_t caps) {
  Filter out;
  const auto it = rule.find(key);
  if (it == rule.end() || it->is_null()) return out;
  if (!it->is_object()) return Bad(absl::StrCat("syscalls.", key), "expected an object");
  ASSIGN_OR_RETURN(std::vector<std::string> names, StringListField(*it, "caps"), "seccomp profile: syscalls.", key);
  ASSIGN_OR_RETURN(std::vector<std::string> arches, StringListField(*it, "arches"), "seccomp profile: syscalls.", key);
  ASSIGN_OR_RETURN(std::string kernel, StringField(*it, "minKernel"), "seccomp profile: syscalls.", key);
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const uint64_t bit, ParseCapability(name), "seccomp profile: syscalls.", key);
    if (caps & bit) {
      out.any_cap = true;
    } else {
      out.caps = false;
    }
  }
  out.any = !names.empty() || !arches.empty() || !kernel.empty();
  if (!arches.empty()) {
    out.arches = false;
    for (const std::string& arch : arches) out.arches |= arch == GoArch();
  }
  out.kernel = KernelAtLeast(kernel);
  return out;
}

// Docker's conditions on a rule: everything of "includes" holds and nothing of "excludes".
absl::StatusOr<bool> Applies(const Json& rule, uint64_t caps) {
  ASSIGN_OR_RETURN(const Filter includes, ParseFilter(rule, "includes", caps));
  if (!includes.caps || !includes.arches || !includes.kernel) return false;
  ASSIGN_OR_RETURN(const Filter excludes, ParseFilter(rule, "excludes", caps));
  const auto it = rule.find("excludes");
  if (!excludes.any) return true;
  if (excludes.any_cap) return false;
  if (it->contains("arches") && !(*it)["arches"].empty() && excludes.arches) return false;
  ASSIGN_OR_RETURN(std::string kernel, StringField(*it, "minKernel"));
  return kernel.empty() || !excludes.kernel;
}

absl::StatusOr<uint64_t> Unsigned(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return uint64_t{0};
  if (!it->is_number_unsigned()) return Bad(absl::StrCat("syscalls.args.", key), "expected a number of 0 or more");
  return it->get<uint64_t>();
}

absl::StatusOr<std::vector<SeccompCondition>> ParseConditions(const Json& rule) {
  std::vector<SeccompCondition> out;
  ASSIGN_OR_RETURN(const Json* args, ListMember(rule, "args", "syscalls.args"));
  for (size_t i = 0; args != nullptr && i < args->size(); ++i) {
    const Json& arg = (*args)[i];
    if (!arg.is_object()) return Bad("syscalls.args", "expected objects");
    ASSIGN_OR_RETURN(const uint64_t index, Unsigned(arg, "index"));
    if (index > 5) return Bad("syscalls.args.index", "above 5");
    ASSIGN_OR_RETURN(std::string op, StringField(arg, "op"), "seccomp profile: syscalls.args");
    SeccompCondition condition;
    condition.arg = static_cast<unsigned>(index);
    ASSIGN_OR_RETURN(condition.op, ParseOperator(op));
    ASSIGN_OR_RETURN(condition.value, Unsigned(arg, "value"));
    ASSIGN_OR_RETURN(condition.value2, Unsigned(arg, "valueTwo"));
    out.push_back(condition);
  }
  return out;
}

bool RepeatsAnArgument(const std::vector<SeccompCondition>& conditions) {
  std::set<unsigned> seen;
  for (const SeccompCondition& c : conditions) {
    if (!seen.insert(c.arg).second) return true;
  }
  return false;
}

absl::Status ParseRule(const Json& rule, uint64_t caps, SeccompProfile& profile) {
  if (!rule.is_object()) return Bad("syscalls", "expected objects");
  ASSIGN_OR_RETURN(std::vector<std::string> names, StringListField(rule, "names"), "seccomp profile: syscalls");
  ASSIGN_OR_RETURN(std::string name, StringField(rule, "name"), "seccomp profile: syscalls");
  if (!name.empty()) names.push_back(name);
  if (names.empty()) return Bad("syscalls.names", "empty");
  ASSIGN_OR_RETURN(std::string action_name, StringField(rule, "action"), "seccomp profile: syscalls");
  ASSIGN_OR_RETURN(const int64_t errno_ret, ParseErrno(rule, "errnoRet", "errno", "syscalls."));
  ASSIGN_OR_RETURN(const uint32_t action, ParseAction(action_name, errno_ret, "syscalls.action"));
  ASSIGN_OR_RETURN(std::vector<SeccompCondition> conditions, ParseConditions(rule));
  ASSIGN_OR_RETURN(const bool applies, Applies(rule, caps));
  if (!applies) return absl::OkStatus();
  // Two conditions on one argument are alternatives: profiles in the wild are written for runc,
  // which reads them so.
  const bool alternatives = RepeatsAnArgument(conditions);
  for (const std::string& each : names) {
    if (!alternatives) {
      profile.rules.push_back({each, action, conditions});
      continue;
    }
    for (const SeccompCondition& condition : conditions) profile.rules.push_back({each, action, {condition}});
  }
  return absl::OkStatus();
}

// Without a list, the flag that berth's own profile has; an empty list means none.
absl::Status ParseFlags(const Json& json, SeccompProfile& profile) {
  ASSIGN_OR_RETURN(const Json* list, ListMember(json, "flags", "flags"));
  profile.flags = list == nullptr ? SECCOMP_FILTER_FLAG_SPEC_ALLOW : 0;
  ASSIGN_OR_RETURN(std::vector<std::string> flags, StringListField(json, "flags"), "seccomp profile");
  for (const std::string& flag : flags) {
    if (flag == "SECCOMP_FILTER_FLAG_LOG") {
      profile.flags |= SECCOMP_FILTER_FLAG_LOG;
    } else if (flag == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
      profile.flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    } else if (flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") {
      profile.flags |= kWaitKillableRecv;
    } else if (flag != "SECCOMP_FILTER_FLAG_TSYNC") {  // for all threads: the process that loads it has one
      return Bad("flags", absl::StrCat("'", flag, "' is unknown"));
    }
  }
  return absl::OkStatus();
}

absl::Status ParseListener(const Json& json, SeccompProfile& profile) {
  ASSIGN_OR_RETURN(std::string path, StringField(json, "listenerPath"), "seccomp profile");
  ASSIGN_OR_RETURN(std::string metadata, StringField(json, "listenerMetadata"), "seccomp profile");
  if (!profile.Notifies()) {
    profile.flags &= ~kWaitKillableRecv;  // takes a listener
    return absl::OkStatus();
  }
  if (path.empty()) return Bad("listenerPath", "missing, but there is an action SCMP_ACT_NOTIFY");
  if (!absl::StartsWith(path, "/")) return Bad("listenerPath", absl::StrCat("'", path, "' is not an absolute path"));
  profile.listener_path = std::move(path);
  profile.listener_metadata = std::move(metadata);
  return absl::OkStatus();
}

}  // namespace

bool SeccompProfile::Notifies() const {
  return default_action == SCMP_ACT_NOTIFY ||
         absl::c_any_of(rules, [](const SeccompRule& rule) { return rule.action == SCMP_ACT_NOTIFY; });
}

absl::StatusOr<SeccompProfile> ParseProfile(absl::string_view text, uint64_t caps) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(text), "seccomp profile");
  if (!json.is_object()) return absl::InvalidArgumentError("seccomp profile: expected an object");
  SeccompProfile profile;
  ASSIGN_OR_RETURN(std::string action, StringField(json, "defaultAction"), "seccomp profile");
  if (action.empty()) return Bad("defaultAction", "missing");
  ASSIGN_OR_RETURN(const int64_t errno_ret, ParseErrno(json, "defaultErrnoRet", "defaultErrno", ""));
  ASSIGN_OR_RETURN(profile.default_action, ParseAction(action, errno_ret, "defaultAction"));
  RETURN_IF_ERROR(ParseArchitectures(json, profile));
  ASSIGN_OR_RETURN(const Json* rules, ListMember(json, "syscalls", "syscalls"));
  for (size_t i = 0; rules != nullptr && i < rules->size(); ++i) {
    RETURN_IF_ERROR(ParseRule((*rules)[i], caps, profile), "rule ", i);
  }
  RETURN_IF_ERROR(ParseFlags(json, profile));
  RETURN_IF_ERROR(ParseListener(json, profile));
  return profile;
}

}  // namespace berth::security
