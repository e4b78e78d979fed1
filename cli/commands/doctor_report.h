// How a diagnosis is printed. Apart from the command, so that it is tested without a machine to look at.
#pragma once

#include <iosfwd>
#include <string>
#include <utility>
#include <vector>

#include "cri/doctor/doctor.h"
#include "runtime/base/json.h"

namespace berth::cli {

// Each step's words, and what became of it.
using RepairLog = std::vector<std::pair<std::string, absl::Status>>;

// One line for each finding, one for what to do about it, the sum, and the plan.
void PrintDiagnosis(const doctor::Diagnosis& diagnosis, bool colour, std::ostream& out);

// `log` is that of a repair, or nullptr.
Json DoctorJson(const doctor::Diagnosis& diagnosis, const RepairLog* log);

}  // namespace berth::cli
