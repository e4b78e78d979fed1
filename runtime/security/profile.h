// A seccomp profile as rules, before it is compiled. Pure functions but for what libseccomp knows
// of this machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::security {

// A comparison of one argument; actions and operators are libseccomp's (SCMP_ACT_*, SCMP_CMP_*).
struct SeccompCondition {
  unsigned arg = 0;  // 0 … 5
  int op = 0;
  uint64_t value = 0;   // the mask of SCMP_CMP_MASKED_EQ
  uint64_t value2 = 0;  // what the masked argument is compared with
};

// Takes effect when all conditions hold. Several rules for one system call are alternatives.
struct SeccompRule {
  std::string name;
  uint32_t action = 0;
  std::vector<SeccompCondition> conditions;
};

struct SeccompProfile {
  uint32_t default_action = 0;
  std::vector<uint32_t> architectures;  // SCMP_ARCH_*, besides the native one
  std::vector<SeccompRule> rules;
  // Allowed although this libseccomp may not know them: numbers above 423 are the same on every
  // architecture.
  std::vector<uint32_t> allowed_numbers;
  uint32_t flags = 0;  // SECCOMP_FILTER_FLAG_*, for loading
  // Who answers the calls that are notified (SCMP_ACT_NOTIFY): the socket that it listens at, and what it is told
  // beside the process. The path is set when, and only when, something is notified.
  std::string listener_path;
  std::string listener_metadata;

  bool Notifies() const;
};

// berth's profile for a container with the bounding set `caps`.
SeccompProfile DefaultProfile(uint64_t caps);
// The capabilities that make a difference to it.
uint64_t DefaultProfileCaps();

// A profile in the JSON format of the OCI runtime specification, or of Docker with archMap,
// includes and excludes. InvalidArgument naming the field that is wrong. Unknown system calls are
// no error, as profiles list those of all kernels; an architecture that this libseccomp does not
// know is none either when the format knows it.
absl::StatusOr<SeccompProfile> ParseProfile(absl::string_view json, uint64_t caps);

// The array of struct sock_filter. System calls that are newer than this libseccomp get ENOSYS, on
// which C libraries fall back to older ones, rather than the profile's error, on which they do not.
// InvalidArgument when libseccomp refuses a rule; ResourceExhausted when the program is longer than
// the kernel takes (4096 instructions).
absl::StatusOr<std::string> CompileProfile(const SeccompProfile& profile);

}  // namespace berth::security
