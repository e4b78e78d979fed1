// Sealed copies of files in memory (memfd_create(2), F_ADD_SEALS of fcntl(2)).
#pragma once

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::sys {

// An executable copy of `source` that nobody can change any more, not even through /proc/PID/exe.
absl::StatusOr<UniqueFd> SealedExecutable(int source, absl::string_view name);

// `data` as a sealed file.
absl::StatusOr<UniqueFd> SealedData(absl::string_view data, absl::string_view name);

// Whether `fd` is a memfd with those seals: what it holds cannot change while it is read.
bool IsSealed(int fd);

}  // namespace berth::sys
