// Resources of what exists already: of containers, which have limits, and of pods, where they are only known.
#include <spdlog/spdlog.h>

#include "cri/pod/engine.h"
#include "cri/spec/resources.h"
#include "runtime/base/undo.h"
#include "runtime/cgroup/oom_score.h"

namespace berth::pod {
namespace {

using state::v1::Container;

void WarnUnless(const absl::Status& s, const Container& container) {
  if (!s.ok()) spdlog::error("container {}: taking back a failed update: {}", container.id(), s.ToString());
}

// Execs of the container start with the new value, too.
void SetExecScore(Container& container, int value) {
  shim::v1::Process process;
  if (!process.ParseFromString(container.process())) return;
  process.set_oom_score_adj(value);
  container.set_process(process.SerializeAsString());
}

}  // namespace

absl::Status Engine::UpdateResources(absl::string_view id_text, const state::v1::Resources& request) {
  ASSIGN_OR_RETURN(ContainerId id, registry_.ResolveContainer(id_text));
  ASSIGN_OR_RETURN(Container container, registry_.Container(id));
  ASSIGN_OR_RETURN(auto entry, registry_.Entry(PodId(container.pod_id())));
  absl::MutexLock lock(&entry->op);
  ASSIGN_OR_RETURN(container, registry_.Container(id));
  const auto ended = [&] {
    return absl::FailedPreconditionError(absl::StrCat("container '", id.str(), "' has exited"));
  };
  if (container.state() != Container::CREATED && container.state() != Container::RUNNING) return ended();
  ASSIGN_OR_RETURN(spec::ResourceUpdate update, spec::PlanUpdate(container.spec().resources(), request), "linux");
  absl::Status status = ApplyUpdate(container, update);
  // Its end may have been reported, and its cgroup removed, in between.
  if (absl::IsNotFound(status)) return ended();
  return status;
}

absl::Status Engine::ApplyUpdate(const Container& container, const spec::ResourceUpdate& update) {
  const std::string& path = container.cgroup_path();
  Undo undo;
  if (update.oom_score_adj) {
    const int before = static_cast<int>(container.spec().resources().oom_score_adj());
    undo.Add([&, before] {
      WarnUnless(cgroup::ReplaceOomScore(parts_.cgroups, path, *update.oom_score_adj, before), container);
    });
    RETURN_IF_ERROR(cgroup::ReplaceOomScore(parts_.cgroups, path, before, *update.oom_score_adj), "linux");
  }
  ASSIGN_OR_RETURN(const std::vector<cgroup::FileWrite> former, parts_.cgroups.Update(path, update.limits), "linux");
  undo.Add([&] { WarnUnless(parts_.cgroups.Restore(path, former), container); });
  RETURN_IF_ERROR(registry_.UpdateContainer(ContainerId(container.id()), [&](Container& c) {
    *c.mutable_spec()->mutable_resources() = update.result;
    if (update.oom_score_adj) SetExecScore(c, *update.oom_score_adj);
  }));
  undo.Commit();
  return absl::OkStatus();
}

absl::Status Engine::UpdatePodResources(absl::string_view id_text, const state::v1::Resources* overhead,
                                        const state::v1::Resources* resources) {
  ASSIGN_OR_RETURN(PodId id, registry_.ResolvePod(id_text));
  return registry_.UpdatePod(id, [&](state::v1::Pod& pod) {
    if (overhead) *pod.mutable_spec()->mutable_overhead() = *overhead;
    if (resources) *pod.mutable_spec()->mutable_resources() = *resources;
  });
}

}  // namespace berth::pod
