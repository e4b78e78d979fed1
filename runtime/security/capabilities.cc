#include "runtime/security/capabilities.h"

#include <linux/capability.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"

namespace berth::security {
namespace {

constexpr uint64_t Bit(int cap) { return uint64_t{1} << cap; }

struct ParsedList {
  bool all = false;
  uint64_t mask = 0;
};

absl::StatusOr<ParsedList> ParseList(absl::Span<const std::string> names) {
  ParsedList out;
  for (const std::string& name : names) {
    if (absl::EqualsIgnoreCase(name, "ALL")) {
      out.all = true;
      continue;
    }
    ASSIGN_OR_RETURN(const uint64_t bit, ParseCapability(name));
    out.mask |= bit;
  }
  return out;
}

}  // namespace

const uint64_t kDefaultCapabilities = Bit(CAP_CHOWN) | Bit(CAP_DAC_OVERRIDE) | Bit(CAP_FSETID) | Bit(CAP_FOWNER) |
                                      Bit(CAP_MKNOD) | Bit(CAP_NET_RAW) | Bit(CAP_SETGID) | Bit(CAP_SETUID) |
                                      Bit(CAP_SETFCAP) | Bit(CAP_SETPCAP) | Bit(CAP_NET_BIND_SERVICE) |
                                      Bit(CAP_SYS_CHROOT) | Bit(CAP_KILL) | Bit(CAP_AUDIT_WRITE);

uint64_t AllCapabilities() {
  // The names that this libcap knows, and no more than the kernel has.
  const int count = cap_max_bits();
  return count >= 64 ? ~uint64_t{0} : Bit(count) - 1;
}

absl::StatusOr<uint64_t> AvailableCapabilities() {
  ASSIGN_OR_RETURN(std::string status, sys::ReadFile("/proc/thread-self/status"));
  uint64_t permitted = 0, bounding = 0;
  int found = 0;
  for (absl::string_view line : absl::StrSplit(status, '\n')) {
    const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(line, absl::MaxSplits(":\t", 1));
    uint64_t* out = field.first == "CapPrm" ? &permitted : field.first == "CapBnd" ? &bounding : nullptr;
    if (out != nullptr && absl::SimpleHexAtoi(field.second, out)) ++found;
  }
  if (found != 2) return absl::InternalError("/proc/thread-self/status has no capability sets");
  return permitted & bounding;
}

absl::StatusOr<uint64_t> ParseCapability(absl::string_view name) {
  std::string full = absl::AsciiStrToLower(name);
  if (!absl::StartsWith(full, "cap_")) full.insert(0, "cap_");
  cap_value_t value = 0;
  // libcap also takes numbers, and a name with something behind it.
  const bool plain = std::all_of(full.begin(), full.end(), [](char c) { return absl::ascii_islower(c) || c == '_'; });
  if (!plain || cap_from_name(full.c_str(), &value) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("unknown capability '", name, "'"));
  }
  return Bit(value);
}

absl::StatusOr<CapabilitySets> ResolveCapabilities(const CapabilityRequest& request, uint64_t available) {
  CapabilitySets sets;
  ASSIGN_OR_RETURN(const ParsedList add, ParseList(request.add), "capabilities.add");
  ASSIGN_OR_RETURN(const ParsedList drop, ParseList(request.drop), "capabilities.drop");
  ASSIGN_OR_RETURN(const ParsedList ambient, ParseList(request.add_ambient), "capabilities.add_ambient");
  uint64_t mask = kDefaultCapabilities;
  if (request.privileged) {
    mask = AllCapabilities();
  } else {
    if (add.all) mask = AllCapabilities();
    if (drop.all) mask = 0;
    mask |= add.mask;
    mask &= ~drop.mask;
  }
  // An ambient capability that the request drops is not raised: the drop is the safer reading.
  sets.ambient = (ambient.all ? AllCapabilities() : ambient.mask) & ~(request.privileged ? 0 : drop.mask) & available;
  sets.bounding = (mask | sets.ambient) & available;
  sets.permitted = sets.effective = sets.bounding;
  sets.inheritable = sets.ambient;
  return sets;
}

}  // namespace berth::security
