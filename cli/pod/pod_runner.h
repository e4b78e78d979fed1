// Makes pods out of manifests: images, volumes, sandbox, init containers, containers; and takes
// back what it made when a step fails.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "cli/client/cri_client.h"
#include "cli/manifest/plan.h"
#include "cli/manifest/pod.h"
#include "runtime/base/status.h"

namespace berth::cli {

struct RunningPod {
  std::string name, ns, id, uid;
  std::vector<std::string> ips;
  std::vector<std::pair<std::string, std::string>> containers;  // name and id, without init containers
};

struct StepTime {
  std::string step;
  absl::Duration took;
};

// What the runner asks of its surroundings.
struct RunnerHooks {
  // Fetches an image and returns its id.
  std::function<absl::StatusOr<std::string>(const std::string& image)> pull;
  std::string log_root, volume_root;
};

class PodRunner {
 public:
  PodRunner(CriClient* client, RunnerHooks hooks) : client_(client), hooks_(std::move(hooks)) {}

  // Returns when all containers are started. AlreadyExists if a pod of the same name is ready.
  // After an error call Undo: what was made until then is still there.
  absl::Status Run(const manifest::Pod& pod);

  // Takes back everything that Run made, but for images, last things first, and goes on over
  // errors, which it returns.
  std::vector<absl::Status> Undo();

  const std::vector<RunningPod>& pods() const { return pods_; }
  const std::vector<StepTime>& times() const { return times_; }

 private:
  struct Planned {
    const manifest::Container* container;
    bool init;
    manifest::ContainerFacts facts;
  };

  template <typename F>
  auto Timed(std::string step, F work) -> decltype(work());
  absl::Status CheckName(const manifest::Pod& pod);
  absl::StatusOr<manifest::ContainerFacts> PrepareImage(const manifest::Pod& pod, const manifest::Container& container);
  // emptyDir volumes and log directories; fills in the mount sources of the plan.
  absl::Status MakeDirectories(const manifest::Pod& pod, const manifest::HostFacts& host, std::vector<Planned>& plan);
  // Creates and starts it, and waits for its end if it is an init container.
  absl::StatusOr<std::string> StartContainer(const manifest::Pod& pod, const manifest::HostFacts& host,
                                             const std::string& pod_id, const Planned& planned);
  absl::Status RemoveByUid(const std::string& uid);
  absl::Status WaitForInit(const manifest::Pod& pod, const manifest::Container& container, const std::string& id,
                           const std::string& log);

  CriClient* client_;
  RunnerHooks hooks_;
  std::vector<RunningPod> pods_;
  std::vector<StepTime> times_;
  std::vector<std::function<absl::Status()>> undo_;
};

}  // namespace berth::cli
