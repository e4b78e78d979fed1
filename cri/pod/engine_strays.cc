// What a daemon finds at its start that no record speaks of: left by a call that was cut short, or by a record that was
// lost. Every place where pods and containers leave something is looked through (docs/design/0038-nothing-is-lost.md).
#include <fcntl.h>
#include <spdlog/spdlog.h>

#include "absl/strings/str_split.h"
#include "cri/pod/engine.h"
#include "cri/pod/sandbox_files.h"
#include "runtime/sys/file.h"

namespace berth::pod {
namespace {

// Containers that a shim knows of are killed and removed before.
constexpr absl::Duration kAfterShims = absl::Seconds(1);

// Names in a directory of ours that are of pods.
std::vector<PodId> PodsIn(const std::string& path) {
  std::vector<PodId> ids;
  auto dir = sys::Open(path, O_RDONLY | O_DIRECTORY);
  auto names = dir.ok() ? sys::ListDir(dir->get()) : dir.status();
  if (!names.ok()) return ids;
  for (const std::string& name : *names) {
    if (IsSafeName(name)) ids.push_back(PodId(name));
  }
  return ids;
}

// The cgroup of the pod whose shim that process is: the part of its own path that ends with the pod's name.
std::string CgroupOfPod(int pid, const PodId& id) {
  auto text = sys::ReadFile(absl::StrCat("/proc/", pid, "/cgroup"));
  if (!text.ok()) return "";
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    const size_t at = line.find(id.str());
    const size_t path = line.find('/');
    if (at == absl::string_view::npos || path > at) continue;
    return std::string(line.substr(path, line.find('/', at) - path));
  }
  return "";
}

}  // namespace

void Engine::RemoveStrays() {
  for (const ContainerId& id : parts_.images.Snapshots()) {
    if (registry_.Container(id).ok()) continue;
    janitor_.Owe(
        absl::StrCat("container ", id.str(), ", which no record speaks of"),
        [this, id] { return RemoveStrayContainer(id); }, kAfterShims);
  }
  for (const char* dir : {"/pods", "/netns"}) {
    for (const PodId& id : PodsIn(options_.state_dir + dir)) {
      if (registry_.Pod(id).ok()) continue;
      janitor_.Owe(absl::StrCat("pod ", id.str(), ", which no record speaks of"),
                   [this, id] { return RemoveStrayPod(id); });
    }
  }
}

// The snapshot is the first that is made of a container, and the last that is removed.
absl::Status Engine::RemoveStrayContainer(const ContainerId& id) {
  for (const state::v1::Pod& pod : registry_.Pods()) {
    RETURN_IF_ERROR(RemoveCgroup(cgroup::PathOfContainer(pod.cgroup_path(), id.str())));
  }
  return parts_.images.RemoveSnapshot(id);
}

absl::Status Engine::RemoveStrayPod(const PodId& id) {
  const std::string dir = PodDir(id.str()), netns = absl::StrCat(options_.state_dir, "/netns/", id.str());
  std::string cgroup;
  std::vector<shim::v1::ContainerFact> containers;
  auto shim = launcher_->Reconnect(id, dir);
  if (shim.ok()) {
    spdlog::error("pod {}: no record speaks of it; what runs in it is killed", id.str());
    cgroup = CgroupOfPod((*shim)->pid(), id);
    if (auto facts = (*shim)->State(); facts.ok()) containers = *std::move(facts);
    RETURN_IF_ERROR((*shim)->Shutdown());
  } else if (!absl::IsNotFound(shim.status()) && !absl::IsUnavailable(shim.status())) {
    return shim.status();
  }
  // The parent of pods that name none is all that can be tried when the shim does not say.
  if (cgroup.empty()) {
    ASSIGN_OR_RETURN(cgroup, cgroup::PathOfPod(cgroup_driver(), options_.cgroup_parent, id.str()));
    RETURN_IF_ERROR(parts_.cgroups.Kill(cgroup));
  }
  network::PodRequest request;
  request.pod = id;
  request.netns_path = netns;
  RETURN_IF_ERROR(parts_.network.Detach(request), "pod network");
  RETURN_IF_ERROR(UnpinNetns(netns));
  RETURN_IF_ERROR(UnmountShm(dir));
  for (const auto& c : containers) {
    RETURN_IF_ERROR(
        RemoveEffects(id, ContainerId(c.container_id()), cgroup::PathOfContainer(cgroup, c.container_id())));
  }
  RETURN_IF_ERROR(parts_.pod_cgroups.Remove(cgroup));
  return sys::RemoveTreeAt(AT_FDCWD, dir);
}

}  // namespace berth::pod
