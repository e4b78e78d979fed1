// What the configuration makes of the rooms that others than the daemon may open too.
#pragma once

#include <memory>
#include <optional>

#include "cri/daemon/config.h"
#include "cri/network/network.h"
#include "image/store.h"
#include "runtime/sys/file_lock.h"

namespace berth::daemon {

// Root and state directory are one process's: a daemon's, or a repair's.
struct Claim {
  sys::FileLock root;
  std::optional<sys::FileLock> state;  // unless it is the same directory
};
// Both directories exist. FailedPrecondition names the process that has one of them.
absl::StatusOr<Claim> ClaimDirectories(const Config& config);
// The file in a directory whose lock is the claim.
std::string ClaimFile(absl::string_view directory);

absl::StatusOr<std::unique_ptr<network::PodNetwork>> MakeNetwork(const Config& config);
network::CniOptions CniOptionsOf(const Config& config);
network::EmbeddedOptions EmbeddedOptionsOf(const Config& config);

// Without its callbacks.
image::Store::Options ImageOptionsOf(const Config& config);

}  // namespace berth::daemon
