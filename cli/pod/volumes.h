// The directories of a pod on this host: emptyDir volumes, checked hostPath volumes, subPaths.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cli/manifest/plan.h"
#include "cli/manifest/pod.h"
#include "runtime/base/status.h"

namespace berth::cli {

// The host path of each volume by name. emptyDir volumes are made below manifest::VolumeDirectory,
// mode 0777 (with an fsGroup: of that group, and inherited by what is made in them); hostPath
// volumes are checked and made as their type says. FailedPrecondition when a hostPath is not what
// its type promises.
absl::StatusOr<std::map<std::string, std::string>> MakeVolumes(const manifest::Pod& pod,
                                                               const manifest::HostFacts& host);

// The host path for each of the container's mounts. A subPath is resolved inside its volume,
// symlinks included, and made as a directory if it is missing.
absl::StatusOr<std::vector<std::string>> MountSources(const manifest::Container& container,
                                                      const std::map<std::string, std::string>& volumes);

// Removes the directory and what is in it, without following symlinks or crossing mounts. OK when
// it is not there.
absl::Status RemoveDirectory(const std::string& path);

}  // namespace berth::cli
