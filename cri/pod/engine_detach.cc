// A pod's way off its network, also when the network does not let it go.
#include <spdlog/spdlog.h>

#include "absl/time/clock.h"
#include "cri/network/netns.h"
#include "cri/pod/engine.h"
#include "cri/pod/network_request.h"
#include "cri/pod/sandbox_files.h"

namespace berth::pod {
namespace {

using state::v1::Pod;

// Nobody waits for a pod that was never ready: the call that made it has its error.
absl::Duration PatienceWith(const Pod& pod, absl::Duration patience) {
  return pod.unfinished() ? absl::ZeroDuration() : patience;
}

}  // namespace

absl::StatusOr<Engine::DetachState> Engine::DetachNetwork(const Pod& pod) {
  const PodId id(pod.id());
  if (!pod.network_attached() || debts_.Has(id)) return DetachState::kDone;
  const absl::Duration patience = PatienceWith(pod, options_.detach_patience);
  const absl::Time now = absl::Now();
  absl::Time since =
      pod.detach_failing_since() == 0 ? absl::InfiniteFuture() : absl::FromUnixNanos(pod.detach_failing_since());
  // It is tried on without the pod; nobody has to wait for one attempt more.
  if (now - since >= patience) return DetachState::kOwed;
  absl::Status detached = parts_.network.Detach(NetworkRequest(pod));
  if (detached.ok()) return DetachState::kDone;
  if (absl::IsCancelled(detached)) return detached;  // the daemon ends
  if (since > now) {                                 // the first failure, or the clock was set back
    since = absl::Now();
    (void)registry_.UpdatePod(id, [&](Pod& record) { record.set_detach_failing_since(absl::ToUnixNanos(since)); });
  }
  if (absl::Now() - since < patience) return detached;
  return DetachState::kOwed;
}

// When somebody unmounted the namespace, its plugins could not undo what they did in it; the shim has it still.
void Engine::RestorePin(const Pod& pod, client::PodShim& shim) {
  if (!pod.network_attached() || network::OpenNetns(pod.netns_path()).ok()) return;
  auto restore = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(sys::UniqueFd netns, shim.OpenNetns());
    RETURN_IF_ERROR(UnpinNetns(pod.netns_path()));
    return PinNetns(netns.get(), pod.netns_path());
  };
  if (absl::Status s = restore(); !s.ok()) spdlog::warn("pod {}: its network namespace: {}", pod.id(), s.ToString());
}

// What the failed attempt has undone itself is not undone again; what it could not, it has just tried.
void Engine::NoteFailedAttach(Pod& pod) {
  const bool left = parts_.network.HasAttachment(PodId(pod.id()));
  pod.set_network_attached(left);
  if (left) pod.set_detach_failing_since(absl::ToUnixNanos(absl::Now()));
  absl::Status noted = registry_.UpdatePod(PodId(pod.id()), [&](Pod& record) {
    record.set_network_attached(pod.network_attached());
    record.set_detach_failing_since(pod.detach_failing_since());
  });
  if (!noted.ok()) spdlog::error("pod {}: {}", pod.id(), noted.ToString());
}

void Engine::OweStop(const PodId& id) {
  janitor_.Owe(
      absl::StrCat("pod ", id.str(), ": the stop that was begun"), [this, id] { return StopPod(id.str()); },
      absl::Seconds(1));
}

void Engine::TakeUpNetworks(const std::vector<Pod>& owed) {
  for (const Pod& pod : owed) debts_.Restore(pod);
  for (const Pod& pod : registry_.Pods()) {
    if (pod.detach_failing_since() != 0 && !pod.unfinished()) OweStop(PodId(pod.id()));
  }
  auto alive = [this] {
    std::set<PodId> pods;
    for (const Pod& pod : registry_.Pods()) pods.insert(PodId(pod.id()));
    for (const PodId& owed : debts_.Pods()) pods.insert(owed);  // second: a pod becomes a debt, never the reverse
    return pods;
  };
  janitor_.Owe("network: what pods that are gone left behind",
               [this, alive] { return parts_.network.CollectGarbage(alive); });
}

}  // namespace berth::pod
