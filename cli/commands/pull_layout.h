// What is shown of a pull: pure, from what the daemon reported and when.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "cli/client/cri_client.h"
#include "cli/session.h"

namespace berth::cli {

// Bytes a second over the last few seconds.
class SpeedMeter {
 public:
  void Add(absl::Time now, uint64_t bytes);
  // 0 when nothing was added lately, or not for long enough to tell.
  uint64_t BytesPerSecond(absl::Time now) const;

 private:
  std::deque<std::pair<absl::Time, uint64_t>> samples_;  // the last few seconds, and the one before them
};

// For a terminal: a line for the pull, one for each layer, one for their sum.
class PullView {
 public:
  PullView(std::string image, absl::Time start) : image_(std::move(image)), start_(start) {}
  void Update(PullState state, absl::Time now);
  // The first line says from now on that the pull is done.
  void Done() { done_ = true; }

  // Less than size.rows lines, each narrower than size.columns. Layers that find no room are summed up in a line; those
  // that move are shown first.
  std::vector<std::string> Lines(TerminalSize size, absl::Time now) const;

 private:
  std::string LayerLine(const LayerState& layer, size_t width, absl::Time now) const;
  // Which layers have room, by index.
  std::set<size_t> Shown(size_t room) const;

  const std::string image_;
  const absl::Time start_;
  PullState state_;
  bool done_ = false;
  std::set<std::string> there_;  // layers that did not have to be fetched
  std::map<std::string, SpeedMeter> speeds_;
  SpeedMeter speed_;
};

// For a log: a line for each layer when it is there, and now and then one for the whole.
class PlainPull {
 public:
  explicit PlainPull(absl::Time start) : said_(start) {}
  // The lines that are new.
  std::vector<std::string> Update(const PullState& state, absl::Time now);

 private:
  absl::Time said_;
  bool first_ = true;
  std::set<std::string> done_;
};

// "downloading 12.5MB of 187MB (6%)"; without the bytes while they are not known.
std::string DescribePull(const PullState& state);

// One line for a program to read.
std::string PullJson(const std::string& image, const PullState& state);

}  // namespace berth::cli
