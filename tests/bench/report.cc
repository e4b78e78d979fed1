#include "tests/bench/report.h"

#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"

namespace berth::bench {
namespace {

// A measure that both sides have.
struct Row {
  std::string name, unit;
  const Series* subject;
  const Series* peer;
};

std::vector<Row> Rows(const Report& report) {
  std::vector<Row> rows;
  auto add = [&](absl::string_view name) {
    const Series* subject = report.subject.samples->Find(name);
    const Series* peer = report.peer.samples->Find(name);
    if (subject != nullptr && peer != nullptr) rows.push_back({std::string(name), subject->unit, subject, peer});
  };
  for (const std::string& name : report.ratios) add(name);
  for (const Series& s : report.subject.samples->all()) {
    if (std::find(report.ratios.begin(), report.ratios.end(), s.name) == report.ratios.end()) add(s.name);
  }
  return rows;
}

// What the ratio divides by, and what it divides.
std::pair<const Series*, const Series*> Sides(const Row& row) {
  if (row.unit == kRateUnit) return {row.peer, row.subject};
  return {row.subject, row.peer};
}

double RatioOf(const Row& row) {
  auto [better, worse] = Sides(row);
  return Ratio(Summarize(better->values).median, Summarize(worse->values).median);
}

Interval IntervalOf(const Row& row) {
  auto [better, worse] = Sides(row);
  return RatioInterval(better->values, worse->values);
}

std::string FormatInterval(const Interval& interval) {
  return absl::StrCat(FormatRatio(interval.low), " to ", FormatRatio(interval.high));
}

bool IsWhole(absl::string_view unit) { return unit == "KiB" || unit == "us" || unit == kRateUnit; }

std::string Cells(const Series& series) {
  Summary s = Summarize(series.values);
  int digits = IsWhole(series.unit) ? 0 : 2;
  return absl::StrFormat("  %10.*f %9.*f %9.*f", digits, s.median, digits, s.p99, digits, s.min);
}

nlohmann::json SideJson(const Series& series) {
  Summary s = Summarize(series.values);
  return {{"count", s.count}, {"median", s.median}, {"p99", s.p99}, {"min", s.min}, {"values", series.values}};
}

// The value of the first "KEY<separator>value" line of a file.
std::string Lookup(const char* file, absl::string_view key, char separator) {
  auto text = sys::ReadFile(file);
  if (!text.ok()) return "";
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    std::vector<absl::string_view> sides = absl::StrSplit(line, absl::MaxSplits(separator, 1));
    if (sides.size() == 2 && absl::StripAsciiWhitespace(sides[0]) == key) {
      return std::string(absl::StripPrefix(absl::StripSuffix(absl::StripAsciiWhitespace(sides[1]), "\""), "\""));
    }
  }
  return "";
}

}  // namespace

std::string FormatTable(const Report& report) {
  std::string out = absl::StrFormat("%s: %d rounds in turn, %s = %s, %s = %s\n%s\n\n", report.measurement,
                                    report.rounds, report.subject.name, report.subject.version, report.peer.name,
                                    report.peer.version, report.machine);
  absl::StrAppendFormat(&out, "%-20s %-4s  %30s  %30s\n", "", "", report.subject.name, report.peer.name);
  absl::StrAppendFormat(&out, "%-20s %-4s", "measure", "unit");
  for (int side = 0; side < 2; ++side) {
    absl::StrAppend(&out, absl::StrFormat("  %10s %9s %9s", "median", "p99", "min"));
  }
  absl::StrAppendFormat(&out, "  %7s  %s\n", "ratio", "95% interval");
  std::vector<Row> rows = Rows(report);
  for (const Row& row : rows) {
    absl::StrAppendFormat(&out, "%-20s %-4s%s%s  %7s  %s\n", row.name, row.unit, Cells(*row.subject), Cells(*row.peer),
                          FormatRatio(RatioOf(row)), FormatInterval(IntervalOf(row)));
  }
  absl::StrAppend(&out, "\n");
  for (const Row& row : rows) {
    if (std::find(report.ratios.begin(), report.ratios.end(), row.name) == report.ratios.end()) continue;
    absl::StrAppend(&out, "ratio ", row.name, " ", FormatRatio(RatioOf(row)), "\n");
  }
  return out;
}

std::string FormatJson(const Report& report) {
  nlohmann::ordered_json json = {{"measurement", report.measurement},
                                 {"machine", report.machine},
                                 {"rounds", report.rounds},
                                 {"subject", {{"name", report.subject.name}, {"version", report.subject.version}}},
                                 {"peer", {{"name", report.peer.name}, {"version", report.peer.version}}},
                                 {"measures", nlohmann::ordered_json::array()}};
  for (const Row& row : Rows(report)) {
    nlohmann::ordered_json measure = {{"name", row.name}, {"unit", row.unit}};
    Interval interval = IntervalOf(row);
    measure["ratio"] = RatioOf(row);
    measure["ratio_95"] = {interval.low, interval.high};
    measure["subject"] = SideJson(*row.subject);
    measure["peer"] = SideJson(*row.peer);
    json["measures"].push_back(std::move(measure));
  }
  return json.dump(2) + "\n";
}

std::string DescribeMachine() {
  utsname kernel = {};
  uname(&kernel);
  struct sysinfo memory = {};
  sysinfo(&memory);
  double load = memory.loads[0] / static_cast<double>(1 << SI_LOAD_SHIFT);
  double gib = static_cast<double>(memory.totalram) * memory.mem_unit / (1 << 30);
  return absl::StrFormat("%d x %s, %.1f GiB, Linux %s, %s, load %.1f", get_nprocs(),
                         Lookup("/proc/cpuinfo", "model name", ':'), gib, kernel.release,
                         Lookup("/etc/os-release", "PRETTY_NAME", '='), load);
}

}  // namespace berth::bench
