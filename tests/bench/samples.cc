#include "tests/bench/samples.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"

namespace berth::bench {

Summary Summarize(std::vector<double> values) {
  Summary s;
  s.count = values.size();
  if (values.empty()) return s;
  std::sort(values.begin(), values.end());
  size_t middle = values.size() / 2;
  s.min = values.front();
  s.median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  s.p99 = values[(values.size() * 99 + 99) / 100 - 1];
  return s;
}

double Ratio(double subject, double peer) { return subject > 0 && peer > 0 ? peer / subject : 0; }

std::string FormatRatio(double ratio) {
  if (!(ratio > 0)) return "n/a";
  int digits = std::clamp(2 - static_cast<int>(std::floor(std::log10(ratio))), 0, 6);
  return absl::StrFormat("%.*f", digits, ratio);
}

void Samples::Add(absl::string_view name, absl::string_view unit, double value) {
  for (Series& s : series_) {
    if (s.name == name) {
      s.values.push_back(value);
      return;
    }
  }
  series_.push_back({std::string(name), std::string(unit), {value}});
}

const Series* Samples::Find(absl::string_view name) const {
  for (const Series& s : series_) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

}  // namespace berth::bench
