#include "cri/doctor/records.h"

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "cri/state/state_store.h"

namespace berth::doctor {
namespace {

using state::v1::Container;
using state::v1::Pod;

constexpr char kState[] = "records";

std::string Short(const std::string& id) { return id.substr(0, 12); }

Step Heal(const std::string& path) {
  return {Act::kHealState, "", absl::StrCat("set aside what cannot be read of ", path, ", or means nothing")};
}

// Each name that several records have, with their ids.
template <typename Record, typename NameOf>
void JudgeNames(const std::map<std::string, Record>& records, const char* kind, NameOf name_of,
                std::vector<Finding>& out) {
  std::map<std::string, std::vector<std::string>> owners;
  for (const auto& [id, record] : records) owners[name_of(record)].push_back(Short(id));
  for (const auto& [name, ids] : owners) {
    if (ids.size() < 2) continue;
    out.push_back({kState, Severity::kProblem, name,
                   absl::StrCat("the ", kind, " name ", name, " is that of several: ", absl::StrJoin(ids, ", ")),
                   "remove all but one of them: berth rm ID"});
  }
}

void JudgeDatabase(const state::Inspection& db, const std::string& path, std::vector<Finding>& out) {
  const char* check = "state.db";
  if (!db.exists) {
    out.push_back({check, Severity::kOk, path, absl::StrCat(path, ": not there yet")});
  } else if (db.newer) {
    out.push_back({check, Severity::kProblem, path,
                   absl::StrCat(path, " has version ", db.version, ", this berth knows ", state::kStateDbVersion),
                   "use the berth that wrote it, or a newer one"});
  } else if (!db.damage.empty()) {
    out.push_back({check,
                   Severity::kProblem,
                   path,
                   absl::StrCat(path, " is damaged: ", absl::StrJoin(db.damage, "; ")),
                   "set aside what cannot be read; look again for what that leaves without a record",
                   {Heal(path)}});
  } else {
    out.push_back({check, Severity::kOk, path, absl::StrCat("version ", db.version, ", sound")});
  }
}

void JudgeSetAside(const std::vector<std::string>& files, std::vector<Finding>& out) {
  for (const std::string& file : files) {
    out.push_back({"state.db", Severity::kWarning, file, absl::StrCat("damaged records were set aside in ", file),
                   "remove it when nobody wants to look at it any more"});
  }
}

}  // namespace

bool Records::HasNetworkLike(const std::string& first_digits) const {
  auto begins = [&](const auto& map) {
    auto it = map.lower_bound(first_digits);
    return it != map.end() && absl::StartsWith(it->first, first_digits);
  };
  return begins(pods) || begins(unreadable) || begins(debts);
}

Records ParseRecords(const state::Inspection& db) {
  Records out;
  out.complete = !db.newer && db.damage.empty();
  for (const state::RawRecord& row : db.records) {
    Pod pod;
    Container container;
    if (row.kind == static_cast<int>(state::Kind::kPod)) {
      if (row.whole && pod.ParseFromString(row.data) && pod.id() == row.id) {
        out.pods[row.id] = std::move(pod);
      } else {
        out.unreadable[row.id] = "pod";
      }
    } else if (row.kind == static_cast<int>(state::Kind::kContainer)) {
      if (row.whole && container.ParseFromString(row.data) && container.id() == row.id) {
        out.containers[row.id] = std::move(container);
      } else {
        out.unreadable[row.id] = "container";
      }
    } else if (row.kind == static_cast<int>(state::Kind::kDetach)) {
      if (row.whole && pod.ParseFromString(row.data) && pod.id() == row.id) {
        out.debts[row.id] = std::move(pod);
      } else {
        out.unreadable[row.id] = "owed detach of pod";
      }
    } else {
      out.others[row.id] = absl::StrCat("kind ", row.kind);
    }
  }
  return out;
}

Records Union(Records a, const Records& b) {
  a.pods.insert(b.pods.begin(), b.pods.end());
  a.containers.insert(b.containers.begin(), b.containers.end());
  a.unreadable.insert(b.unreadable.begin(), b.unreadable.end());
  a.debts.insert(b.debts.begin(), b.debts.end());
  a.others.insert(b.others.begin(), b.others.end());
  a.complete = a.complete && b.complete;
  return a;
}

std::vector<Finding> JudgeRecords(const state::Inspection& db, const Records& records, const std::string& path,
                                  const std::vector<std::string>& set_aside) {
  std::vector<Finding> out;
  JudgeDatabase(db, path, out);
  JudgeSetAside(set_aside, out);
  for (const auto& [id, kind] : records.unreadable) {
    out.push_back({kState,
                   Severity::kProblem,
                   id,
                   absl::StrCat(kind, " ", Short(id), ": its record cannot be read"),
                   "set it aside; look again for what that leaves without a record",
                   {Heal(path)}});
  }
  for (const auto& [id, pod] : records.debts) {
    out.push_back({"network", Severity::kWarning, id,
                   absl::StrCat("pod ", Short(id), " (", pod.spec().namespace_(), "/", pod.spec().name(),
                                ") is gone, but its network has still to let it go"),
                   "berthd tries it until it works; look at the CNI plugins"});
  }
  for (const auto& [id, what] : records.others) {
    out.push_back({kState, Severity::kWarning, id,
                   absl::StrCat("record ", id, " is of a kind that this berth does not know: ", what)});
  }
  for (const auto& [id, container] : records.containers) {
    if (!records.complete || records.pods.count(container.pod_id()) || records.unreadable.count(container.pod_id()))
      continue;
    std::vector<Step> steps;
    if (absl::EndsWith(container.cgroup_path(), "/" + id)) {  // no other is ours to kill
      steps.push_back(
          {Act::kKillCgroup, container.cgroup_path(), absl::StrCat("kill what runs in ", container.cgroup_path())});
      steps.push_back(
          {Act::kRemoveCgroup, container.cgroup_path(), absl::StrCat("remove cgroup ", container.cgroup_path())});
    }
    steps.push_back({Act::kRemoveSnapshot, id, absl::StrCat("remove the writable layer of container ", Short(id))});
    steps.push_back(Heal(path));
    out.push_back({kState, Severity::kProblem, id,
                   absl::StrCat("container ", Short(id), " (", container.spec().name(), "): its pod ",
                                Short(container.pod_id()), " has no record"),
                   "remove it", std::move(steps)});
  }
  JudgeNames(
      records.pods, "pod",
      [](const Pod& pod) {
        return absl::StrCat(pod.spec().namespace_(), "/", pod.spec().name(), " (uid ", pod.spec().uid(), ", attempt ",
                            pod.spec().attempt(), ")");
      },
      out);
  JudgeNames(
      records.containers, "container",
      [](const Container& c) {
        return absl::StrCat(c.spec().name(), " (attempt ", c.spec().attempt(), ") in pod ", Short(c.pod_id()));
      },
      out);
  return out;
}

}  // namespace berth::doctor
