// Resource limits of processes (setrlimit(2)), which CRI has no field for yet. Pure but for CheckRlimits.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

inline constexpr char kRlimitsAnnotation[] = "berth.dev/rlimits";

struct Rlimit {
  std::string name;  // "nofile"
  int resource = 0;  // RLIMIT_*
  uint64_t soft = 0;
  uint64_t hard = 0;
  std::string source;  // who asks for it, for messages: an annotation or a configuration key
};

// "nofile=1024:4096,nproc=64": NAME=SOFT:HARD or NAME=BOTH, a value being a number or "unlimited"; names as in
// getrlimit(2) without RLIMIT_, any case. Empty = none. InvalidArgument naming `source` for anything else, a soft limit
// above the hard one, or a name twice.
absl::StatusOr<std::vector<Rlimit>> ParseRlimits(absl::string_view text, absl::string_view source);

// Of a container, each name once. Later ones replace earlier ones: `defaults`, the pod's annotation berth.dev/rlimits,
// the pod's berth.dev/rlimits.CONTAINER, the container's berth.dev/rlimits.
absl::StatusOr<std::vector<Rlimit>> RlimitsOf(const state::v1::ContainerSpec& container, const state::v1::PodSpec& pod,
                                              const std::vector<Rlimit>& defaults);

// FailedPrecondition naming the source when this machine does not let the caller set one: a hard limit above its own
// without CAP_SYS_RESOURCE (`may_raise`), or more open files than fs.nr_open.
absl::Status CheckRlimits(const std::vector<Rlimit>& limits, bool may_raise);

}  // namespace berth::spec
