// What a measurement collects and what is said of it. Values only; not thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace berth::bench {

// Of an empty list everything is 0.
struct Summary {
  size_t count = 0;
  double min = 0;
  double median = 0;  // the mean of the two middle values when their number is even
  double p99 = 0;     // nearest rank: the smallest value that at least 99% of the values do not exceed
};

Summary Summarize(std::vector<double> values);

// How many times better `subject` is than `peer` where less is better: peer / subject. 0 when there is no telling,
// which is when either is not positive.
double Ratio(double subject, double peer);

struct Interval {
  double low = 0, high = 0;
};

// The unit of a rate. Of everything else less is better.
inline constexpr char kRateUnit[] = "MB/s";

// Where the ratio of the medians lies with 95% confidence, by resampling (percentile bootstrap, with a fixed seed: the
// same values give the same interval). Lists of one length are rounds taken in turn, and are resampled as pairs, so
// that a load that both met does not count; others each by itself. 0 to 0 when a list is empty. It knows what the
// rounds scatter, not what held during all of a run.
Interval RatioInterval(const std::vector<double>& subject, const std::vector<double>& peer);

// Three significant digits as a plain number: "12.3", "0.987", "104". "n/a" for 0.
std::string FormatRatio(double ratio);

// All values of one measure on one side, in the order in which they were taken.
struct Series {
  std::string name;  // as in "ratio NAME X"
  std::string unit;  // "ms", "KiB" or kRateUnit
  std::vector<double> values;
};

// The series of one side, in the order in which their names first came.
class Samples {
 public:
  void Add(absl::string_view name, absl::string_view unit, double value);
  const std::vector<Series>& all() const { return series_; }
  // nullptr when nothing was added under this name.
  const Series* Find(absl::string_view name) const;

 private:
  std::vector<Series> series_;
};

}  // namespace berth::bench
