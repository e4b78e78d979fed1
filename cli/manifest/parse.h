// The parts of ParseManifest, one per kind of object. Each reads `object`, reports to its Problems
// and finishes it.
#pragma once

#include <set>
#include <string>

#include "cli/manifest/pod.h"
#include "cli/manifest/yaml_object.h"

namespace berth::cli::manifest {

Pod ParsePod(Object& object);

// `volumes` are the names that volumeMounts may use; `init` for spec.initContainers.
Container ParseContainer(Object& object, const std::set<std::string>& volumes, bool init);

void ParsePodSecurity(Object object, Pod& pod);
void ParseContainerSecurity(Object object, Container& container);

// Kubernetes' rules for names: lower-case letters, digits and '-' (for subdomains also '.'), at
// most 63 (253) of them.
bool IsDnsLabel(absl::string_view name);
bool IsDnsSubdomain(absl::string_view name);
bool IsIpAddress(absl::string_view text);
// Absolute, and ".." is no part of it.
bool IsCleanAbsolutePath(absl::string_view path);

}  // namespace berth::cli::manifest
