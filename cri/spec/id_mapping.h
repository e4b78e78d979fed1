// Ranges of ids as requests and records have them: of a pod's user namespace, and of a mount. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/user_namespace.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

using IdMappings = google::protobuf::RepeatedPtrField<state::v1::IdMapping>;

// InvalidArgument, with `field` in front, for a range that is empty or reaches beyond 2^32-2, the last id that there
// is.
absl::Status ValidateIdMappings(absl::string_view field, const IdMappings& mappings);

bool SameMappings(const IdMappings& a, const IdMappings& b);

std::vector<sys::IdRange> ToIdRanges(const IdMappings& mappings);

// Whether the pod has a user namespace of its own.
inline bool HasUserNamespace(const state::v1::PodSpec& pod) { return pod.namespaces().uids_size() > 0; }

// What a user or group of the pod's namespace is on the host; itself in a pod without one. Nothing when it is not
// mapped.
std::optional<uint32_t> HostUid(const state::v1::PodSpec& pod, uint32_t uid);
std::optional<uint32_t> HostGid(const state::v1::PodSpec& pod, uint32_t gid);

}  // namespace berth::spec
