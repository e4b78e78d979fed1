#include "cri/pod/records.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "runtime/base/id.h"

namespace berth::pod {
namespace {

// What is wrong with a record as such; empty when nothing is.
template <typename Message>
std::string Wrong(const state::Record& record, Message& message) {
  if (!message.ParseFromString(record.data)) return "cannot be read";
  if (message.id() != record.id || !IsSafeName(message.id()))
    return absl::StrCat("is of another id, '", message.id(), "'");
  return "";
}

void SetAside(state::StateStore& store, state::Kind kind, const std::string& id, const std::string& why, Records& out) {
  const absl::Status moved = store.SetAside(kind, id, why);
  out.damage.push_back(absl::StrCat(kind == state::Kind::kContainer ? "container" : "pod", " '", id, "': its record ",
                                    why, moved.ok() ? "; set aside" : "; it cannot be set aside: ", moved.message()));
}

}  // namespace

absl::StatusOr<Records> ReadRecords(state::StateStore& store) {
  ASSIGN_OR_RETURN(state::Loaded loaded, store.Load());
  Records out;
  out.damage = std::move(loaded.damage);
  absl::flat_hash_set<std::string> pods;
  std::vector<state::v1::Container> containers;
  for (const state::Record& record : loaded.records) {
    state::v1::Pod pod;
    state::v1::Container container;
    const bool is_container = record.kind == state::Kind::kContainer;
    const std::string wrong = is_container ? Wrong(record, container) : Wrong(record, pod);
    if (!wrong.empty()) {
      SetAside(store, record.kind, record.id, wrong, out);
    } else if (record.kind == state::Kind::kDetach) {
      out.detaches.push_back(std::move(pod));
    } else if (!is_container) {
      pods.insert(pod.id());
      out.pods.push_back(std::move(pod));
    } else {
      containers.push_back(std::move(container));
    }
  }
  for (state::v1::Container& c : containers) {
    if (pods.contains(c.pod_id())) {
      out.containers.push_back(std::move(c));
    } else {
      SetAside(store, state::Kind::kContainer, c.id(), absl::StrCat("is of pod '", c.pod_id(), "', which has none"),
               out);
    }
  }
  return out;
}

}  // namespace berth::pod
