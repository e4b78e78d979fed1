#include "runtime/sys/boot_id.h"

#include "absl/strings/ascii.h"
#include "runtime/sys/file.h"

namespace berth::sys {

absl::StatusOr<std::string> BootId() {
  ASSIGN_OR_RETURN(std::string id, ReadFile("/proc/sys/kernel/random/boot_id"));
  absl::StripTrailingAsciiWhitespace(&id);
  return id;
}

}  // namespace berth::sys
