// The host directories that volumes need and that are not there yet.
#pragma once

#include <string>
#include <vector>

#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::spec {

// Makes missing sources of a container's binds, and removes them again, unless they are kept. Not thread-safe.
class MountSources {
 public:
  MountSources() = default;
  MountSources(const MountSources&) = delete;
  MountSources& operator=(const MountSources&) = delete;
  // Removes what Make made, as far as it is empty still.
  ~MountSources();

  // A host path that is missing is made as a directory, mode 0755, with the directories above it: what Docker began,
  // kubelets and their users rely on. FailedPrecondition "mounts.host_path: …" for a symlink to nothing or a path
  // through something that is no directory.
  absl::Status Make(const state::v1::ContainerSpec& spec);
  void Keep() { made_.clear(); }

 private:
  absl::Status MakeOne(const std::string& path);
  std::vector<std::string> made_;  // parents before children
};

}  // namespace berth::spec
