// Commands of streaming sessions: an exec, or a container that is attached to, as descriptors.
#pragma once

#include <memory>

#include "cri/pod/worker_pool.h"
#include "cri/spec/launch_plan.h"
#include "cri/streaming/backend.h"
#include "runtime/base/id.h"
#include "runtime/client/shim_client.h"

namespace berth::pod {

// An exec that is decided but for its streams.
struct ExecLaunch {
  std::shared_ptr<client::PodShim> shim;
  shim::v1::ExecPlan plan;
  spec::PlanFds fds;
  uid_t uid = 0;  // of the command, on the host
  gid_t gid = 0;
};

// Both return when the shim has answered; `done` is as Backend says. `background` runs what ends a command that its
// owner lets go of, and outlives all of them.
absl::StatusOr<std::unique_ptr<streaming::Command>> StartExec(ExecLaunch launch, const streaming::ExecRequest& request,
                                                              WorkerPool& background, streaming::Backend::Done done);
absl::StatusOr<std::unique_ptr<streaming::Command>> AttachTo(std::shared_ptr<client::PodShim> shim,
                                                             const streaming::AttachRequest& request,
                                                             WorkerPool& background, streaming::Backend::Done done);

}  // namespace berth::pod
