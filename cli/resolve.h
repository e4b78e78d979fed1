// Which pod or container a word on the command line means. Pure functions over what the daemon lists.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cli/client/cri_client.h"

namespace berth::cli {

// By name, NAMESPACE/NAME, id or the beginning of one. Of several sandboxes of one pod the one that is ready counts,
// else the newest. NotFound, or InvalidArgument naming the candidates when the word is ambiguous.
absl::StatusOr<PodInfo> ResolvePod(absl::string_view word, const std::vector<PodInfo>& pods);

// By POD/CONTAINER, name, id or the beginning of one; a pod's name or id stands for its container, if it has one
// besides its init containers. Of several attempts the latest counts. Errors as above.
absl::StatusOr<ContainerInfo> ResolveContainer(absl::string_view word, const std::vector<PodInfo>& pods,
                                               const std::vector<ContainerInfo>& containers);

// The pod's containers, its init containers too, each in its latest attempt, in the order in which they were created.
std::vector<ContainerInfo> ContainersOfPod(const PodInfo& pod, const std::vector<ContainerInfo>& containers);

// "NAMESPACE/NAME", or "NAME" in the namespace "default".
std::string DisplayName(const PodInfo& pod);

// The pod with this id; nullptr if it is not in the list.
const PodInfo* FindPod(const std::vector<PodInfo>& pods, absl::string_view id);

}  // namespace berth::cli
