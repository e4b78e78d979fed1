// How a command ended, as the error stream of v4.channel.k8s.io tells it: a metav1.Status in JSON.
#pragma once

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cli::stream {

// The command's exit code; or why it did not run, with the server's message (Internal). Unavailable for an empty text:
// the connection ended before the command did.
absl::StatusOr<int> ParseCommandStatus(absl::string_view text);

}  // namespace berth::cli::stream
