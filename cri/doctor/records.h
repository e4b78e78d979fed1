// The daemon's records, as far as they can be read: who has a claim to what is found on the machine.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "cri/doctor/finding.h"
#include "cri/state/inspect.h"
#include "runtime/base/status.h"
#include "state/v1/state.pb.h"

namespace berth::doctor {

struct Records {
  std::map<std::string, state::v1::Pod> pods;
  std::map<std::string, state::v1::Container> containers;
  // Rows whose content cannot be read, by id. What bears such an id has a record all the same.
  std::map<std::string, std::string> unreadable;
  std::map<std::string, state::v1::Pod> debts;  // pods that are gone but for their network
  std::map<std::string, std::string> others;  // of kinds that say nothing of a pod's being there, by id: what they are
  // Whether these are all there are. Otherwise nothing can be said to have no record.
  bool complete = false;

  bool Has(const std::string& id) const {
    return pods.count(id) > 0 || containers.count(id) > 0 || unreadable.count(id) > 0;
  }
  // As far as the network goes, whose things an owed detach may still need.
  bool HasNetworkOf(const std::string& pod) const { return Has(pod) || debts.count(pod) > 0; }
  bool HasNetworkLike(const std::string& first_digits) const;
};

Records ParseRecords(const state::Inspection& db);
// All that either has: what came or went between two looks has a record.
Records Union(Records a, const Records& b);

// The database at `path` and its records, by themselves; `set_aside` are damaged files beside it.
std::vector<Finding> JudgeRecords(const state::Inspection& db, const Records& records, const std::string& path,
                                  const std::vector<std::string>& set_aside);

}  // namespace berth::doctor
