#include "cli/commands/pull_layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/text/human.h"
#include "cli/text/table.h"
#include "runtime/base/json.h"

namespace berth::cli {
namespace {

constexpr absl::Duration kSpeedWindow = absl::Seconds(3), kSpeedMinimum = absl::Milliseconds(300);
constexpr absl::Duration kPlainInterval = absl::Seconds(5);
constexpr size_t kIdWidth = 12, kPhaseWidth = 13, kBytesWidth = 13, kSpeedWidth = 8;
constexpr size_t kLeastBar = 8, kMostBar = 50;  // brackets included

std::string ShortDigest(absl::string_view digest) {
  size_t colon = digest.find(':');
  return std::string(digest.substr(colon == absl::string_view::npos ? 0 : colon + 1, kIdWidth));
}

// A layer that is being unpacked has been received: its counter starts anew, the pull does not.
uint64_t Received(const LayerState& layer) { return layer.phase >= PullPhase::kUnpacking ? layer.total : layer.done; }

std::pair<uint64_t, uint64_t> SumOf(const PullState& state) {
  std::pair<uint64_t, uint64_t> sum;
  for (const LayerState& layer : state.layers) {
    sum.first += Received(layer);
    sum.second += layer.total;
  }
  return sum;
}

std::string Bar(uint64_t done, uint64_t total, size_t width) {
  const size_t inside = width - 2;
  const double part = total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto filled = static_cast<size_t>(part * static_cast<double>(inside));
  std::string bar(filled, '=');
  if (filled < inside) bar += '>';
  bar.resize(inside, ' ');
  return absl::StrCat("[", bar, "]");
}

// Cuts what does not fit; all characters here take one column.
std::string Fit(std::string line, size_t width) {
  line.erase(line.find_last_not_of(' ') + 1);
  if (line.size() > width) line.resize(width);
  return line;
}

// "ID  phase  [==>  ]  done/total  speed": the bar takes what is left, and goes first where there is little.
std::string Row(absl::string_view id, absl::string_view phase, uint64_t done, uint64_t total, uint64_t speed,
                size_t width) {
  std::string line = absl::StrFormat("%-*s  %-*s", kIdWidth, id, kPhaseWidth, phase);
  const std::string bytes = absl::StrCat(HumanBytes(done), "/", HumanBytes(total));
  const std::string rate = speed == 0 ? "" : absl::StrCat(HumanBytes(speed), "/s");
  const size_t fixed = line.size() + 2 + kBytesWidth + 2 + kSpeedWidth;
  if (width >= fixed + 2 + kLeastBar) {
    absl::StrAppend(&line, "  ", Bar(done, total, std::min(width - fixed - 2, kMostBar)));
  }
  return Fit(absl::StrFormat("%s  %*s  %*s", line, kBytesWidth, bytes, kSpeedWidth, rate), width);
}

// How much a layer has to be seen: what moves comes first, what is done last.
int Interest(PullPhase phase) {
  switch (phase) {
    case PullPhase::kDownloading:
    case PullPhase::kUnpacking:
      return 0;
    case PullPhase::kDone:
      return 2;
    default:
      return 1;
  }
}

}  // namespace

void SpeedMeter::Add(absl::Time now, uint64_t bytes) {
  if (!samples_.empty() && bytes < samples_.back().second) samples_.clear();  // begun anew
  samples_.emplace_back(now, bytes);
  while (samples_.size() > 2 && samples_[1].first < now - kSpeedWindow) samples_.pop_front();
}

uint64_t SpeedMeter::BytesPerSecond(absl::Time now) const {
  if (samples_.empty() || samples_.back().first < now - kSpeedWindow) return 0;
  const absl::Duration took = now - samples_.front().first;
  if (took < kSpeedMinimum) return 0;
  const auto bytes = static_cast<double>(samples_.back().second - samples_.front().second);
  return static_cast<uint64_t>(bytes / absl::ToDoubleSeconds(took));
}

void PullView::Update(PullState state, absl::Time now) {
  if (state_.layers.empty()) {
    for (const LayerState& layer : state.layers) {
      if (layer.phase == PullPhase::kDone) there_.insert(layer.digest);
    }
  }
  uint64_t fetched = 0;
  for (const LayerState& layer : state.layers) {
    if (there_.contains(layer.digest)) continue;
    speeds_[layer.digest].Add(now, Received(layer));
    fetched += Received(layer);
  }
  speed_.Add(now, fetched);
  state_ = std::move(state);
}

std::string PullView::LayerLine(const LayerState& layer, size_t width, absl::Time now) const {
  const std::string id = ShortDigest(Printable(layer.digest));
  if (layer.phase == PullPhase::kDownloading || layer.phase == PullPhase::kUnpacking) {
    auto speed = speeds_.find(layer.digest);
    return Row(id, PhaseName(layer.phase), layer.done, layer.total,
               speed == speeds_.end() ? 0 : speed->second.BytesPerSecond(now), width);
  }
  const absl::string_view phase = there_.contains(layer.digest) ? "already there" : PhaseName(layer.phase);
  return Fit(absl::StrFormat("%-*s  %-*s  %s", kIdWidth, id, kPhaseWidth, phase, HumanBytes(layer.total)), width);
}

std::set<size_t> PullView::Shown(size_t room) const {
  std::vector<size_t> order(state_.layers.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (order.size() > room) {
    std::stable_sort(order.begin(), order.end(), [this](size_t a, size_t b) {
      return Interest(state_.layers[a].phase) < Interest(state_.layers[b].phase);
    });
    order.resize(room);
  }
  return {order.begin(), order.end()};
}

std::vector<std::string> PullView::Lines(TerminalSize size, absl::Time now) const {
  const size_t width = std::max<size_t>(size.columns, 2) - 1;
  const std::string seconds = absl::StrFormat("%.1fs", absl::ToDoubleSeconds(now - start_));
  const absl::string_view phase = state_.phase == PullPhase::kUnknown ? "pulling" : PhaseName(state_.phase);
  std::vector<std::string> lines = {Fit(done_ ? absl::StrCat("pulled ", Printable(image_), " in ", seconds)
                                              : absl::StrCat(phase, " ", Printable(image_), ", ", seconds),
                                        width)};
  // Beside this line: the sum, and one that stays free for the cursor.
  const size_t room = size.rows > 3 ? size.rows - 3 : 0;
  const bool all = state_.layers.size() <= room;
  const std::set<size_t> shown = Shown(all ? room : room - std::min<size_t>(room, 1));
  std::map<absl::string_view, size_t> hidden;
  for (size_t i = 0; i < state_.layers.size(); ++i) {
    if (shown.contains(i)) {
      lines.push_back(LayerLine(state_.layers[i], width, now));
    } else {
      ++hidden[PhaseName(state_.layers[i].phase)];
    }
  }
  if (!hidden.empty() && room > 0) {
    auto count = [](std::string* out, const auto& of) { absl::StrAppend(out, of.second, " ", of.first); };
    lines.push_back(
        Fit(absl::StrCat("and ", state_.layers.size() - shown.size(), " more: ", absl::StrJoin(hidden, ", ", count)),
            width));
  }
  if (state_.layers.size() > 1 && size.rows > 2) {
    const auto [done, total] = SumOf(state_);
    lines.push_back(Row("total", "", done, total, done < total ? speed_.BytesPerSecond(now) : 0, width));
  }
  return lines;
}

std::vector<std::string> PlainPull::Update(const PullState& state, absl::Time now) {
  std::vector<std::string> lines;
  for (const LayerState& layer : state.layers) {
    if (layer.phase != PullPhase::kDone || !done_.insert(layer.digest).second) continue;
    lines.push_back(absl::StrCat(ShortDigest(Printable(layer.digest)), ": ", first_ ? "already there" : "done", ", ",
                                 HumanBytes(layer.total)));
  }
  first_ = first_ && state.layers.empty();
  if (lines.empty() && now - said_ >= kPlainInterval && state.phase != PullPhase::kDone) {
    lines.push_back(DescribePull(state));
  }
  if (!lines.empty()) said_ = now;
  return lines;
}

std::string DescribePull(const PullState& state) {
  const absl::string_view phase = PhaseName(state.phase);
  const auto [done, total] = SumOf(state);
  if (total == 0) return std::string(phase);
  const auto percent = static_cast<uint64_t>(static_cast<double>(done) * 100 / static_cast<double>(total));
  return absl::StrCat(phase, " ", HumanBytes(done), " of ", HumanBytes(total), " (", percent, "%)");
}

std::string PullJson(const std::string& image, const PullState& state) {
  Json layers = Json::array();
  for (const LayerState& layer : state.layers) {
    layers.push_back({{"digest", layer.digest},
                      {"phase", std::string(PhaseName(layer.phase))},
                      {"done", layer.done},
                      {"total", layer.total}});
  }
  return DumpJson({{"image", image}, {"phase", std::string(PhaseName(state.phase))}, {"layers", std::move(layers)}});
}

}  // namespace berth::cli
