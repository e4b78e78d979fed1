// Which boot of the machine this is (random(4)): what was true of processes and mounts in another boot is no more.
#pragma once

#include <string>

#include "runtime/base/status.h"

namespace berth::sys {

absl::StatusOr<std::string> BootId();

}  // namespace berth::sys
