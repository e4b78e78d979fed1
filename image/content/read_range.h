// Reads a part of a file in pieces of bounded size.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::image {

// Gives `output` the `size` bytes of `file` from `offset` on, in order, at most 256 KiB at once; they are valid during
// the call only. An error of it ends the reading and is returned. DataLoss: the file is too short. Errors of the file
// carry errno and `name`. Thread-safe: the file's own position is not used.
absl::Status ReadRange(int file, uint64_t offset, uint64_t size, absl::string_view name,
                       absl::FunctionRef<absl::Status(absl::string_view bytes)> output);

}  // namespace berth::image
