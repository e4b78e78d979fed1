// The daemon's memory of pods and containers: the records, kept in step with the state store, and what is known of
// the living ones.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "cri/state/state_store.h"
#include "runtime/base/id.h"
#include "runtime/base/status.h"
#include "runtime/base/timed_condition.h"
#include "runtime/client/shim_client.h"
#include "state/v1/state.pb.h"

namespace berth::pod {

// One pod in memory. `op` is held through a lifecycle operation that changes the pod as a whole; lock order: op, then
// the registry's own mutex.
struct PodEntry {
  explicit PodEntry(PodId pod_id) : id(std::move(pod_id)) {}
  const PodId id;
  absl::Mutex op;
};

// Thread-safe; everything is returned by value. "NotFound" messages say what was looked for.
class Registry {
 public:
  explicit Registry(state::StateStore& store) : store_(store) {}

  // Ids may be shortened as long as they are unambiguous (InvalidArgument when not).
  absl::StatusOr<PodId> ResolvePod(absl::string_view id) const;
  absl::StatusOr<ContainerId> ResolveContainer(absl::string_view id) const;

  // created_at of a new one, ns since 1970: now by the wall clock, but later than what has the same name (of a pod: in
  // the same namespace, with the same uid; of a container: in the same pod), which may be of a time before the clock
  // was set back. Of several attempts the kubelet takes the latest.
  int64_t CreationTime(const state::v1::PodSpec& spec) const;
  int64_t CreationTime(const PodId& pod, const state::v1::ContainerSpec& spec) const;

  absl::StatusOr<std::shared_ptr<PodEntry>> AddPod(const state::v1::Pod& pod);
  absl::Status AddContainer(const state::v1::Container& container);
  // Changes the record and stores it; NotFound is the only error. When the store fails, the memory has the new value
  // all the same, for what has happened has happened: the record is unsaved then. A container's times are kept in their
  // order: one that comes out before created_at or started_at, because the clock was set back meanwhile, becomes that.
  absl::Status UpdatePod(const PodId& id, const std::function<void(state::v1::Pod&)>& change);
  absl::Status UpdateContainer(const ContainerId& id, const std::function<void(state::v1::Container&)>& change);
  // Puts it in the place of the record that is there, and changes nothing when the store fails: for what is true only
  // once it is stored. Nobody else may change that pod meanwhile.
  absl::Status ReplacePod(const state::v1::Pod& pod);
  absl::Status ForgetPod(const PodId& id);
  absl::Status ForgetContainer(const ContainerId& id);
  // Stores what is unsaved. After the first error the rest stays for the next call.
  absl::Status SaveUnsaved();
  // Called, with nothing locked, when there is something unsaved; set before anything is changed.
  void OnUnsaved(std::function<void()> call) { on_unsaved_ = std::move(call); }
  // Puts a record that was read from the store back into memory.
  std::shared_ptr<PodEntry> RestorePod(const state::v1::Pod& pod);
  void RestoreContainer(const state::v1::Container& container);

  absl::StatusOr<state::v1::Pod> Pod(const PodId& id) const;
  absl::StatusOr<state::v1::Container> Container(const ContainerId& id) const;
  absl::StatusOr<std::shared_ptr<PodEntry>> Entry(const PodId& id) const;
  std::vector<state::v1::Pod> Pods() const;
  std::vector<state::v1::Container> Containers() const;
  std::vector<state::v1::Container> ContainersOf(const PodId& id) const;

  void SetShim(const PodId& id, std::shared_ptr<client::PodShim> shim);
  // Unavailable when the pod has no living shim.
  absl::StatusOr<std::shared_ptr<client::PodShim>> Shim(const PodId& id) const;

  // Waits until the container is EXITED or gone; false when `deadline` came first.
  bool AwaitExit(const ContainerId& id, const Deadline& deadline) const;

 private:
  struct PodSlot {
    state::v1::Pod record;
    std::shared_ptr<PodEntry> entry;
    std::shared_ptr<client::PodShim> shim;
  };

  using Key = std::pair<state::Kind, std::string>;
  // `store` and, when it is OK, `then` under the lock: so SaveUnsaved never writes what was there before.
  absl::Status Stored(const std::function<absl::Status()>& store, const std::function<void()>& then);
  void AllUnsaved() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // When the store does not take it, the key is unsaved.
  absl::Status Save(const Key& key, const std::string& data) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  state::StateStore& store_;
  std::function<void()> on_unsaved_ = [] {};
  mutable absl::Mutex mu_;
  mutable TimedCondition changed_;  // what AwaitExit waits for
  absl::flat_hash_map<std::string, PodSlot> pods_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, state::v1::Container> containers_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, std::set<std::string>> containers_of_ ABSL_GUARDED_BY(mu_);  // by pod
  std::set<Key> unsaved_ ABSL_GUARDED_BY(mu_);
};

}  // namespace berth::pod
