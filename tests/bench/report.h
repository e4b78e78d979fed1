// What a run prints: a table, or JSON, and the ratios. Pure functions of the samples.
#pragma once

#include <string>
#include <vector>

#include "tests/bench/samples.h"

namespace berth::bench {

struct Column {
  std::string name;     // of the side
  std::string version;  // what the server calls itself
  const Samples* samples;
};

struct Report {
  std::string measurement;  // "start"
  std::string machine;      // one line
  int rounds = 0;
  Column subject, peer;  // ratios say how many times better the subject is
  // The measures that get a ratio line, in this order; those that were not taken are left out.
  std::vector<std::string> ratios;
};

// One row a measure: median, 99th percentile and least of both sides, and the ratio of the medians with its
// 95% interval. The measures that
// are in `ratios` come first and in that order. A line "ratio MEASURE X" for each ends it.
std::string FormatTable(const Report& report);

// The same with all values.
std::string FormatJson(const Report& report);

// "4 x AMD EPYC, 16.0 GiB, Linux 6.1.0, Debian GNU/Linux 12 (bookworm), load 0.1": this machine, as far as it tells.
std::string DescribeMachine();

}  // namespace berth::bench
