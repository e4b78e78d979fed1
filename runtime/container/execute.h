// Executing a program as the user asked for it: the search through PATH and the words for its failure.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::container {

// The files to try for `program`, in order: itself when it holds a '/', else in each directory of PATH in `env`
// (an empty entry is skipped: the working directory is not searched). Without PATH, the usual directories.
std::vector<std::string> ExecutableCandidates(absl::string_view program, const std::vector<std::string>& env);

// What the user is told: NotFound `exec: "foo": executable file not found in $PATH`, PermissionDenied
// `exec: "/foo": permission denied`, and so on.
absl::Status ExecuteError(absl::string_view program, int err);

// execve(2) of the first candidate that exists and may be executed. Returns only with an error. PermissionDenied when
// one exists and none may.
absl::Status Execute(const std::vector<std::string>& argv, const std::vector<std::string>& env);

}  // namespace berth::container
