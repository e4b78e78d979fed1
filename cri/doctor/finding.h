// What a check says, and what would be done about it: values, so that what is decided can be printed before anything
// happens, and tested without a machine in that state.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace berth::doctor {

enum class Severity {
  kOk,
  kWarning,  // worth knowing: nothing is lost, or berthd sees to it when it starts
  kProblem,  // something is wrong or left over, and stays so
};

// In the order in which a plan does them: what lives ends first, what holds others is let go before what is held.
enum class Act {
  kEndShim,         // subject: the pod's id
  kKillCgroup,      // a cgroup's path
  kCollectNetwork,  // no subject: the network drops what is of no recorded pod
  kUnmount,         // a path
  kRemoveTree,      // a directory's path
  kRemoveFile,      // a file's path
  kRemoveCgroup,    // a cgroup's path
  kRemoveSnapshot,  // the container's id
  kHealState,       // no subject: records of state.db that cannot be read or mean nothing are set aside
  kCloseToWriters,  // a path: nobody but its owner may write
  kCloseToOthers,   // a path: nobody but its owner may anything
};

struct Step {
  Act act;
  std::string subject;
  std::string words;  // for who is asked: "end shim 812 and 3 processes of pod 0123…"
};

struct Finding {
  std::string check;  // "shims": which check says it
  Severity severity = Severity::kOk;
  std::string subject;  // the id, path or name that it is about: two looks that see the same name the same
  std::string what;
  std::string remedy;       // what would be done, or who has to; empty when there is nothing to do
  std::vector<Step> steps;  // of a repair; empty when none is for us to do
};

// The steps of all findings, each once, in the order in which they are done.
std::vector<Step> PlanOf(const std::vector<Finding>& findings);

}  // namespace berth::doctor
