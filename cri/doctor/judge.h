// What the world has without a record, and what records say that the world has not. Pure.
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "cri/doctor/finding.h"
#include "cri/doctor/records.h"
#include "cri/doctor/world.h"

namespace berth::doctor {

struct Circumstances {
  // A daemon works meanwhile. It makes a container's things before the record, so what is younger than `settled` may be
  // about to get one; and what a finding asks for is the daemon's to do.
  bool daemon = false;
  absl::Time now;
  absl::Duration settled = absl::Minutes(10);
};

std::vector<Finding> JudgeWorld(const Records& records, const World& world, const Circumstances& circumstances);

// Those of `first` that `second` has too, as `second` says it; what is OK is as in `second`.
std::vector<Finding> SeenTwice(const std::vector<Finding>& first, const std::vector<Finding>& second);

// Adds that all is well, in the words `what`, unless the check has a finding.
void AddUntroubled(const char* check, const std::string& what, std::vector<Finding>& findings);

}  // namespace berth::doctor
