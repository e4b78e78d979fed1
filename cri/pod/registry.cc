#include "cri/pod/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/time/clock.h"

namespace berth::pod {
namespace {

template <typename Map>
absl::StatusOr<std::string> Resolve(const Map& map, absl::string_view id, absl::string_view what) {
  if (map.contains(id)) return std::string(id);
  const std::string* found = nullptr;
  if (!id.empty()) {
    for (const auto& [key, value] : map) {
      if (!absl::StartsWith(key, id)) continue;
      if (found) return absl::InvalidArgumentError(absl::StrCat(what, " id '", id, "' is ambiguous"));
      found = &key;
    }
  }
  if (!found) return absl::NotFoundError(absl::StrCat(what, " '", id, "' not found"));
  return *found;
}

absl::Status NoPod(const PodId& id) {
  return absl::NotFoundError(absl::StrCat("pod sandbox '", id.str(), "' not found"));
}
absl::Status NoContainer(const ContainerId& id) {
  return absl::NotFoundError(absl::StrCat("container '", id.str(), "' not found"));
}

void KeepTimesInOrder(state::v1::Container& c) {
  if (c.started_at() != 0) c.set_started_at(std::max(c.started_at(), c.created_at()));
  if (c.finished_at() != 0) c.set_finished_at(std::max({c.finished_at(), c.started_at(), c.created_at()}));
}

}  // namespace

int64_t Registry::CreationTime(const state::v1::PodSpec& spec) const {
  int64_t time = absl::GetCurrentTimeNanos();
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [id, slot] : pods_) {
    const state::v1::PodSpec& other = slot.record.spec();
    if (other.name() == spec.name() && other.namespace_() == spec.namespace_() && other.uid() == spec.uid()) {
      time = std::max(time, slot.record.created_at() + 1);
    }
  }
  return time;
}

int64_t Registry::CreationTime(const PodId& pod, const state::v1::ContainerSpec& spec) const {
  int64_t time = absl::GetCurrentTimeNanos();
  absl::ReaderMutexLock lock(&mu_);
  for (const auto& [id, other] : containers_) {
    if (other.pod_id() == pod.str() && other.spec().name() == spec.name()) {
      time = std::max(time, other.created_at() + 1);
    }
  }
  return time;
}

absl::StatusOr<PodId> Registry::ResolvePod(absl::string_view id) const {
  absl::ReaderMutexLock lock(&mu_);
  ASSIGN_OR_RETURN(std::string full, Resolve(pods_, id, "pod sandbox"));
  return PodId(full);
}

absl::StatusOr<ContainerId> Registry::ResolveContainer(absl::string_view id) const {
  absl::ReaderMutexLock lock(&mu_);
  ASSIGN_OR_RETURN(std::string full, Resolve(containers_, id, "container"));
  return ContainerId(full);
}

absl::StatusOr<std::shared_ptr<PodEntry>> Registry::AddPod(const state::v1::Pod& pod) {
  RETURN_IF_ERROR(Stored([&] { return store_.Put(state::Kind::kPod, pod.id(), pod.SerializeAsString()); }, [] {}));
  return RestorePod(pod);
}

absl::Status Registry::AddContainer(const state::v1::Container& container) {
  RETURN_IF_ERROR(Stored(
      [&] { return store_.Put(state::Kind::kContainer, container.id(), container.SerializeAsString()); }, [] {}));
  RestoreContainer(container);
  return absl::OkStatus();
}

std::shared_ptr<PodEntry> Registry::RestorePod(const state::v1::Pod& pod) {
  auto entry = std::make_shared<PodEntry>(PodId(pod.id()));
  absl::MutexLock lock(&mu_);
  pods_[pod.id()] = {pod, entry, nullptr};
  return entry;
}

void Registry::RestoreContainer(const state::v1::Container& container) {
  absl::MutexLock lock(&mu_);
  containers_[container.id()] = container;
  containers_of_[container.pod_id()].insert(container.id());
}

absl::Status Registry::Stored(const std::function<absl::Status()>& store, const std::function<void()>& then) {
  absl::Status answer;
  {
    absl::MutexLock lock(&mu_);
    answer = store();
    if (answer.ok()) then();
    // What a store that was damaged may have lost: all of it.
    if (absl::IsDataLoss(answer)) AllUnsaved();
  }
  if (absl::IsDataLoss(answer)) on_unsaved_();
  return answer;
}

void Registry::AllUnsaved() {
  for (const auto& [id, slot] : pods_) unsaved_.insert({state::Kind::kPod, id});
  for (const auto& [id, record] : containers_) unsaved_.insert({state::Kind::kContainer, id});
}

absl::Status Registry::Save(const Key& key, const std::string& data) {
  absl::Status saved = store_.Put(key.first, key.second, data);
  if (saved.ok()) {
    unsaved_.erase(key);
  } else {
    unsaved_.insert(key);
    if (absl::IsDataLoss(saved)) AllUnsaved();
  }
  return saved;
}

absl::Status Registry::UpdatePod(const PodId& id, const std::function<void(state::v1::Pod&)>& change) {
  absl::Status saved;
  {
    absl::MutexLock lock(&mu_);
    auto it = pods_.find(id.str());
    if (it == pods_.end()) return NoPod(id);
    change(it->second.record);
    saved = Save({state::Kind::kPod, id.str()}, it->second.record.SerializeAsString());
  }
  if (!saved.ok()) on_unsaved_();
  return absl::OkStatus();
}

absl::Status Registry::UpdateContainer(const ContainerId& id,
                                       const std::function<void(state::v1::Container&)>& change) {
  absl::Status saved;
  {
    absl::MutexLock lock(&mu_);
    auto it = containers_.find(id.str());
    if (it == containers_.end()) return NoContainer(id);
    change(it->second);
    KeepTimesInOrder(it->second);
    changed_.NotifyAll();
    saved = Save({state::Kind::kContainer, id.str()}, it->second.SerializeAsString());
  }
  if (!saved.ok()) on_unsaved_();
  return absl::OkStatus();
}

absl::Status Registry::ReplacePod(const state::v1::Pod& pod) {
  RETURN_IF_ERROR(Pod(PodId(pod.id())).status());
  return Stored([&] { return store_.Put(state::Kind::kPod, pod.id(), pod.SerializeAsString()); },
                [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                  if (auto it = pods_.find(pod.id()); it != pods_.end()) it->second.record = pod;
                  unsaved_.erase({state::Kind::kPod, pod.id()});
                });
}

absl::Status Registry::SaveUnsaved() {
  absl::MutexLock lock(&mu_);
  for (const Key& key : std::vector<Key>(unsaved_.begin(), unsaved_.end())) {
    if (auto pod = pods_.find(key.second); key.first == state::Kind::kPod && pod != pods_.end()) {
      RETURN_IF_ERROR(Save(key, pod->second.record.SerializeAsString()));
    } else if (auto c = containers_.find(key.second); key.first == state::Kind::kContainer && c != containers_.end()) {
      RETURN_IF_ERROR(Save(key, c->second.SerializeAsString()));
    } else {
      unsaved_.erase(key);  // gone meanwhile
    }
  }
  return absl::OkStatus();
}

absl::Status Registry::ForgetPod(const PodId& id) {
  PodSlot gone;  // its shim connection is closed outside the lock
  return Stored([&] { return store_.Delete(state::Kind::kPod, id.str()); },
                [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                  unsaved_.erase({state::Kind::kPod, id.str()});
                  auto it = pods_.find(id.str());
                  if (it == pods_.end()) return;
                  gone = std::move(it->second);
                  pods_.erase(it);
                });
}

absl::Status Registry::ForgetContainer(const ContainerId& id) {
  return Stored([&] { return store_.Delete(state::Kind::kContainer, id.str()); },
                [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
                  unsaved_.erase({state::Kind::kContainer, id.str()});
                  auto it = containers_.find(id.str());
                  if (it == containers_.end()) return;
                  auto siblings = containers_of_.find(it->second.pod_id());
                  siblings->second.erase(id.str());
                  if (siblings->second.empty()) containers_of_.erase(siblings);
                  containers_.erase(it);
                  changed_.NotifyAll();
                });
}

absl::StatusOr<state::v1::Pod> Registry::Pod(const PodId& id) const {
  absl::ReaderMutexLock lock(&mu_);
  auto it = pods_.find(id.str());
  if (it == pods_.end()) return NoPod(id);
  return it->second.record;
}

absl::StatusOr<state::v1::Container> Registry::Container(const ContainerId& id) const {
  absl::ReaderMutexLock lock(&mu_);
  auto it = containers_.find(id.str());
  if (it == containers_.end()) return NoContainer(id);
  return it->second;
}

absl::StatusOr<std::shared_ptr<PodEntry>> Registry::Entry(const PodId& id) const {
  absl::ReaderMutexLock lock(&mu_);
  auto it = pods_.find(id.str());
  if (it == pods_.end()) return NoPod(id);
  return it->second.entry;
}

std::vector<state::v1::Pod> Registry::Pods() const {
  absl::ReaderMutexLock lock(&mu_);
  std::vector<state::v1::Pod> out;
  out.reserve(pods_.size());
  for (const auto& [id, slot] : pods_) out.push_back(slot.record);
  return out;
}

std::vector<state::v1::Container> Registry::Containers() const {
  absl::ReaderMutexLock lock(&mu_);
  std::vector<state::v1::Container> out;
  out.reserve(containers_.size());
  for (const auto& [id, record] : containers_) out.push_back(record);
  return out;
}

std::vector<state::v1::Container> Registry::ContainersOf(const PodId& id) const {
  absl::ReaderMutexLock lock(&mu_);
  std::vector<state::v1::Container> out;
  if (auto it = containers_of_.find(id.str()); it != containers_of_.end()) {
    for (const std::string& container : it->second) out.push_back(containers_.at(container));
  }
  return out;
}

void Registry::SetShim(const PodId& id, std::shared_ptr<client::PodShim> shim) {
  std::shared_ptr<client::PodShim> old;  // destroyed outside the lock
  absl::MutexLock lock(&mu_);
  auto it = pods_.find(id.str());
  if (it != pods_.end()) old = std::exchange(it->second.shim, std::move(shim));
}

absl::StatusOr<std::shared_ptr<client::PodShim>> Registry::Shim(const PodId& id) const {
  absl::ReaderMutexLock lock(&mu_);
  auto it = pods_.find(id.str());
  if (it == pods_.end()) return NoPod(id);
  if (!it->second.shim) {
    const bool ready = it->second.record.state() == state::v1::Pod::READY;
    return absl::UnavailableError(
        absl::StrCat("pod sandbox '", id.str(), ready ? "': its shim does not answer" : "' is not running"));
  }
  return it->second.shim;
}

bool Registry::AwaitExit(const ContainerId& id, const Deadline& deadline) const {
  absl::MutexLock lock(&mu_);
  const auto ended = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    auto it = containers_.find(id.str());
    return it == containers_.end() || it->second.state() == state::v1::Container::EXITED;
  };
  return changed_.Await(mu_, ended, deadline);
}

}  // namespace berth::pod
