// Does the steps of a plan, each through the room whose thing it is. Opens what a step needs when one needs it.
#pragma once

#include <memory>
#include <string>

#include "cri/daemon/config.h"
#include "cri/doctor/finding.h"
#include "cri/state/state_store.h"
#include "image/store.h"
#include "runtime/base/status.h"
#include "runtime/cgroup/pod_cgroups.h"

namespace berth::doctor {

// Not thread-safe. Nothing else works on these directories as long as it lives: that is the caller's to know.
class Repairer {
 public:
  static absl::StatusOr<std::unique_ptr<Repairer>> Open(const daemon::Config& config);
  // Idempotent: OK when it is done already.
  absl::Status Do(const Step& step);

 private:
  Repairer(const daemon::Config& config, std::unique_ptr<cgroup::Hierarchy> cgroups, cgroup::Driver driver);
  absl::Status EndShim(const std::string& pod);
  absl::Status CollectNetwork();
  absl::StatusOr<image::Store*> Images();
  absl::StatusOr<state::StateStore*> State();

  const daemon::Config config_;
  const std::unique_ptr<cgroup::Hierarchy> cgroups_;
  cgroup::PodCgroups pod_cgroups_;
  std::unique_ptr<image::Store> images_;
  std::unique_ptr<state::StateStore> state_;
};

}  // namespace berth::doctor
