#include "cri/doctor/finding.h"

#include <algorithm>
#include <set>
#include <utility>

namespace berth::doctor {

std::vector<Step> PlanOf(const std::vector<Finding>& findings) {
  std::vector<Step> plan;
  std::set<std::pair<Act, std::string>> known;
  for (const Finding& finding : findings) {
    for (const Step& step : finding.steps) {
      if (known.insert({step.act, step.subject}).second) plan.push_back(step);
    }
  }
  // Cgroups from the inside out, which is longest first; the rest as the checks said it.
  std::stable_sort(plan.begin(), plan.end(), [](const Step& a, const Step& b) {
    if (a.act != b.act) return a.act < b.act;
    return a.act == Act::kRemoveCgroup && a.subject.size() > b.subject.size();
  });
  return plan;
}

}  // namespace berth::doctor
