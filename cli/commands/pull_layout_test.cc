#include "cli/commands/pull_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "cli/text/table.h"

namespace berth::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr PullPhase kWaiting = PullPhase::kWaiting, kDownloading = PullPhase::kDownloading,
                    kUnpacking = PullPhase::kUnpacking, kDone = PullPhase::kDone;

absl::Time At(double seconds) { return absl::FromUnixSeconds(1000) + absl::Seconds(seconds); }

LayerState Layer(const char* digest, PullPhase phase, uint64_t done, uint64_t total) {
  return {absl::StrCat("sha256:", digest), phase, done, total};
}

TEST(PullView, OneLineForEachLayer) {
  PullView view("docker.io/library/nginx:1", At(0));
  view.Update(
      {PullPhase::kDownloading,
       {Layer("aaaaaaaaaaaaaaaa", kDone, 0, 30'000'000), Layer("bbbbbbbbbbbbbbbb", kDownloading, 0, 100'000'000),
        Layer("cccccccccccccccc", kWaiting, 0, 5'000), Layer("dddddddddddddddd", kDownloading, 0, 70'000'000)}},
      At(1));
  view.Update(
      {PullPhase::kDownloading,
       {Layer("aaaaaaaaaaaaaaaa", kDone, 30'000'000, 30'000'000),
        Layer("bbbbbbbbbbbbbbbb", kDownloading, 50'000'000, 100'000'000), Layer("cccccccccccccccc", kWaiting, 0, 5'000),
        Layer("dddddddddddddddd", kUnpacking, 10'000'000, 70'000'000)}},
      At(2));
  EXPECT_THAT(view.Lines({.columns = 80, .rows = 24}, At(2)),
              ElementsAre("downloading docker.io/library/nginx:1, 2.0s", "aaaaaaaaaaaa  already there  30MB",
                          "bbbbbbbbbbbb  downloading    [===========>           ]     50MB/100MB    50MB/s",
                          "cccccccccccc  waiting        5kB",
                          "dddddddddddd  unpacking      [===>                   ]      10MB/70MB    70MB/s",
                          "total                        [=================>     ]    150MB/200MB   120MB/s"));
}

TEST(PullView, WithoutLayersYet) {
  PullView view("x:1", At(0));
  EXPECT_THAT(view.Lines({}, At(0.5)), ElementsAre("pulling x:1, 0.5s"));
  view.Update({PullPhase::kResolving, {}}, At(1));
  EXPECT_THAT(view.Lines({}, At(1)), ElementsAre("resolving x:1, 1.0s"));
  view.Done();
  EXPECT_THAT(view.Lines({}, At(1.26)), ElementsAre("pulled x:1 in 1.3s"));
}

TEST(PullView, OneLayerNeedsNoSum) {
  PullView view("x:1", At(0));
  view.Update({kDownloading, {Layer("aaaaaaaaaaaaaaaa", kDownloading, 1, 2)}}, At(1));
  EXPECT_EQ(view.Lines({}, At(1)).size(), 2u);
}

PullState ManyLayers() {
  PullState state{.phase = kDownloading};
  for (char c = 'a'; c <= 'p'; ++c) {  // 16: done, waiting, downloading, done, …
    PullPhase phase = c % 3 == 0 ? kDownloading : c % 3 == 1 ? kDone : kWaiting;
    state.layers.push_back(Layer(std::string(16, c).c_str(), phase, 1'000'000, 2'000'000));
  }
  return state;
}

TEST(PullView, MoreLayersThanLines) {
  PullView view("x:1", At(0));
  view.Update(ManyLayers(), At(1));
  std::vector<std::string> lines = view.Lines({.columns = 70, .rows = 10}, At(1));
  ASSERT_EQ(lines.size(), 9u);
  EXPECT_THAT(lines[1], HasSubstr("bbbbbbbbbbbb  waiting"));
  EXPECT_THAT(lines[2], HasSubstr("cccccccccccc  downloading"));
  EXPECT_EQ(lines[7], "and 10 more: 6 done, 4 waiting");
  EXPECT_THAT(lines[8], HasSubstr("total "));
}

TEST(PullView, NoTerminalIsTooSmall) {
  for (size_t columns = 0; columns <= 130; ++columns) {
    for (size_t rows = 0; rows <= 25; ++rows) {
      PullView view("registry.example:5000/a/rather/long/name:with-a-tag", At(0));
      view.Update(ManyLayers(), At(1));
      std::vector<std::string> lines = view.Lines({.columns = columns, .rows = rows}, At(1));
      EXPECT_LT(lines.size(), std::max<size_t>(rows, 2)) << columns << "x" << rows;
      for (const std::string& line : lines) {
        EXPECT_LT(DisplayWidth(line), std::max<size_t>(columns, 2)) << columns << "x" << rows << line;
      }
    }
  }
}

TEST(PullView, NothingFromAServerReachesTheTerminalAsItIs) {
  PullView view("x\x1b[2J:1", At(0));
  view.Update({kDownloading, {Layer("\x1b[31mred", kWaiting, 0, 1)}}, At(1));
  for (const std::string& line : view.Lines({}, At(1))) EXPECT_EQ(line.find('\x1b'), std::string::npos);
}

TEST(SpeedMeter, OverTheLastSeconds) {
  SpeedMeter meter;
  EXPECT_EQ(meter.BytesPerSecond(At(0)), 0u);
  meter.Add(At(0), 0);
  EXPECT_EQ(meter.BytesPerSecond(At(0.1)), 0u);  // too early to tell
  for (int i = 1; i <= 100; ++i) meter.Add(At(i * 0.1), static_cast<uint64_t>(i) * 1'000'000);
  EXPECT_NEAR(static_cast<double>(meter.BytesPerSecond(At(10))), 1e7, 1e6);
  for (int i = 1; i <= 100; ++i) meter.Add(At(10 + i * 0.1), 100'000'000);
  EXPECT_EQ(meter.BytesPerSecond(At(20)), 0u);
  meter.Add(At(21), 5);  // begun anew
  EXPECT_EQ(meter.BytesPerSecond(At(21)), 0u);
}

TEST(PlainPull, ALineForEachLayerThatIsThere) {
  PlainPull plain(At(0));
  EXPECT_THAT(plain.Update({PullPhase::kResolving, {}}, At(0)), IsEmpty());
  PullState state{kDownloading,
                  {Layer("aaaaaaaaaaaaaaaa", kDone, 7, 7), Layer("bbbbbbbbbbbbbbbb", kDownloading, 1, 1'000'000)}};
  EXPECT_THAT(plain.Update(state, At(0.1)), ElementsAre("aaaaaaaaaaaa: already there, 7B"));
  EXPECT_THAT(plain.Update(state, At(0.2)), IsEmpty());
  state.layers[1].phase = kDone;
  EXPECT_THAT(plain.Update(state, At(0.3)), ElementsAre("bbbbbbbbbbbb: done, 1MB"));
  EXPECT_THAT(plain.Update({kDone, state.layers}, At(60)), IsEmpty());
}

TEST(PlainPull, NowAndThenALineForTheWhole) {
  PlainPull plain(At(0));
  size_t lines = 0;
  for (int i = 0; i < 600; ++i) {
    PullState state{kDownloading, {Layer("a", kDownloading, static_cast<uint64_t>(i), 1000)}};
    for (const std::string& line : plain.Update(state, At(i * 0.1))) {
      EXPECT_THAT(line, HasSubstr("downloading "));
      ++lines;
    }
  }
  EXPECT_GE(lines, 10u);
  EXPECT_LE(lines, 12u);
}

TEST(DescribePull, SaysHowMuch) {
  EXPECT_EQ(DescribePull({PullPhase::kResolving, {}}), "resolving");
  EXPECT_EQ(DescribePull({kDownloading,
                          {Layer("a", kUnpacking, 0, 100'000'000), Layer("b", kDownloading, 20'000'000, 100'000'000)}}),
            "downloading 120MB of 200MB (60%)");
}

TEST(PullJson, IsOneLine) {
  std::string line = PullJson("x:1", {kDownloading, {Layer("a", kDownloading, 1, 2)}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["image"], "x:1");
  EXPECT_EQ(json["layers"][0]["digest"], "sha256:a");
  EXPECT_EQ(json["layers"][0]["total"], 2);
}

}  // namespace
}  // namespace berth::cli
