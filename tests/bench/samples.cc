#include "tests/bench/samples.h"

#include <algorithm>
#include <cmath>
#include <random>

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

Interval RatioInterval(const std::vector<double>& subject, const std::vector<double>& peer) {
  constexpr int kResamples = 2000;
  if (subject.empty() || peer.empty()) return {};
  std::mt19937 random(1);
  std::uniform_int_distribution<size_t> from_subject(0, subject.size() - 1), from_peer(0, peer.size() - 1);
  bool paired = subject.size() == peer.size();
  std::vector<double> ratios, a(subject.size()), b(peer.size());
  for (int i = 0; i < kResamples; ++i) {
    for (size_t k = 0; k < a.size(); ++k) {
      size_t pick = from_subject(random);
      a[k] = subject[pick];
      if (paired) b[k] = peer[pick];
    }
    for (size_t k = 0; !paired && k < b.size(); ++k) b[k] = peer[from_peer(random)];
    ratios.push_back(Ratio(Summarize(a).median, Summarize(b).median));
  }
  std::sort(ratios.begin(), ratios.end());
  return {ratios[kResamples * 25 / 1000], ratios[kResamples * 975 / 1000 - 1]};
}

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
