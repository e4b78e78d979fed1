#include "cli/commands/doctor_report.h"

#include <algorithm>
#include <ostream>

#include "cli/text/table.h"

namespace berth::cli {
namespace {

using doctor::Finding;
using doctor::Severity;

struct Mark {
  const char* text;    // as wide as the widest
  const char* colour;  // SGR
};

Mark MarkOf(Severity severity) {
  switch (severity) {
    case Severity::kOk:
      return {"ok     ", "32"};
    case Severity::kWarning:
      return {"warning", "33"};
    case Severity::kProblem:
      return {"PROBLEM", "1;31"};
  }
  return {"", "0"};
}

const char* NameOf(Severity severity) {
  return severity == Severity::kOk ? "ok" : severity == Severity::kWarning ? "warning" : "problem";
}

std::string Count(size_t n, absl::string_view what) { return absl::StrCat(n, " ", what, n == 1 ? "" : "s"); }

size_t CountOf(const doctor::Diagnosis& diagnosis, Severity severity) {
  return static_cast<size_t>(std::count_if(diagnosis.findings.begin(), diagnosis.findings.end(),
                                           [&](const Finding& f) { return f.severity == severity; }));
}

void PrintSum(const doctor::Diagnosis& diagnosis, std::ostream& out) {
  const size_t problems = CountOf(diagnosis, Severity::kProblem), warnings = CountOf(diagnosis, Severity::kWarning);
  out << "\n" << (problems == 0 ? "healthy" : Count(problems, "problem"));
  if (warnings > 0) out << ", " << Count(warnings, "warning");
  out << "\n";
}

}  // namespace

void PrintDiagnosis(const doctor::Diagnosis& diagnosis, bool colour, std::ostream& out) {
  size_t width = 0;
  for (const Finding& finding : diagnosis.findings) width = std::max(width, finding.check.size());
  for (const Finding& finding : diagnosis.findings) {
    const Mark mark = MarkOf(finding.severity);
    out << (colour ? absl::StrCat("\033[", mark.colour, "m", mark.text, "\033[0m") : mark.text) << "  " << finding.check
        << std::string(width - finding.check.size() + 2, ' ') << Printable(finding.what) << "\n";
    if (!finding.remedy.empty()) out << std::string(9 + width + 2, ' ') << "-> " << Printable(finding.remedy) << "\n";
  }
  PrintSum(diagnosis, out);
  const std::vector<doctor::Step> plan = doctor::PlanOf(diagnosis.findings);
  if (plan.empty()) return;
  out << "\nWhat berth doctor --repair does:\n";
  for (size_t i = 0; i < plan.size(); ++i) out << "  " << i + 1 << ". " << Printable(plan[i].words) << "\n";
}

Json DoctorJson(const doctor::Diagnosis& diagnosis, const RepairLog* log) {
  Json json{{"healthy", diagnosis.healthy()},
            {"daemonPid", diagnosis.daemon ? Json(*diagnosis.daemon) : Json()},
            {"findings", Json::array()},
            {"plan", Json::array()}};
  for (const Finding& finding : diagnosis.findings) {
    json["findings"].push_back({{"check", finding.check},
                                {"severity", NameOf(finding.severity)},
                                {"subject", finding.subject},
                                {"what", finding.what},
                                {"remedy", finding.remedy}});
  }
  for (const doctor::Step& step : doctor::PlanOf(diagnosis.findings)) json["plan"].push_back(step.words);
  if (log == nullptr) return json;
  json["done"] = Json::array();
  for (const auto& [words, status] : *log) {
    json["done"].push_back({{"step", words}, {"error", status.ok() ? Json() : Json(std::string(status.message()))}});
  }
  return json;
}

}  // namespace berth::cli
