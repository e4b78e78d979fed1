// Kubernetes quantities ("500m", "1.5", "64Mi", "2e3") and $(VAR) references. Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::cli::manifest {

// The quantity times `scale` (1 for bytes, 1000 for thousandths of a CPU), rounded up.
// InvalidArgument for what is not a quantity, is negative or does not fit.
absl::StatusOr<int64_t> ParseQuantity(absl::string_view text, int64_t scale);

// Replaces $(NAME) by its value in `variables`; an unknown name stays as it is written, and $$
// stands for one $, as Kubernetes does it in command, args and env.
std::string ExpandVariables(absl::string_view text, const std::map<std::string, std::string>& variables);

}  // namespace berth::cli::manifest
