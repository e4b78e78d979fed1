// What went wrong in a call, in words that a person can act on.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cli {

// "not found", "timed out", … for a canonical code.
absl::string_view CodeInWords(absl::StatusCode code);

// A status with this gRPC code (the canonical codes have the same numbers) and the message "CODE IN
// WORDS: message". The words are not repeated if the message begins with them. Code 0 is OK.
absl::Status RpcError(int grpc_code, absl::string_view message);

// Why a connection to the daemon's socket failed with `err`, and what to do about it. Code
// Unavailable, or PermissionDenied for EACCES and EPERM.
absl::Status CannotReach(absl::string_view socket_path, int err);

}  // namespace berth::cli
