#include "cri/service/pull_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::service {
namespace {

class Recorder : public Writer<admin::PullProgress> {
 public:
  bool Write(admin::PullProgress message) override {
    messages.push_back(std::move(message));
    return listening;
  }
  std::vector<admin::PullProgress> messages;
  bool listening = true;
};

absl::Time At(int milliseconds) { return absl::UnixEpoch() + absl::Milliseconds(milliseconds); }

TEST(PullReport, SaysAtOnceThatItBeganAndAtLastWhichImage) {
  Recorder out;
  PullReport report(out, At(0));
  ASSERT_EQ(out.messages.size(), 1u);
  EXPECT_EQ(out.messages[0].phase(), admin::PULL_PHASE_RESOLVING);
  EXPECT_EQ(out.messages[0].layers_size(), 0);
  report.Update({{.digest = "sha256:a", .total = 10}}, At(1));
  report.Done("sha256:id");
  EXPECT_EQ(out.messages.back().phase(), admin::PULL_PHASE_DONE);
  EXPECT_EQ(out.messages.back().image_id(), "sha256:id");
  EXPECT_EQ(out.messages.back().layers(0).phase(), admin::PULL_PHASE_DONE);
  EXPECT_EQ(out.messages.back().layers(0).bytes_done(), 10u);
}

TEST(PullReport, BytesTenTimesASecondPhasesAlways) {
  Recorder out;
  PullReport report(out, At(0));
  std::vector<image::LayerProgress> layers = {{.digest = "sha256:a", .total = 1000},
                                              {.digest = "sha256:b", .total = 5}};
  report.Update(layers, At(1));
  EXPECT_EQ(out.messages.back().phase(), admin::PULL_PHASE_DOWNLOADING);
  EXPECT_EQ(out.messages.back().layers(0).phase(), admin::PULL_PHASE_WAITING);
  for (int ms = 2; ms <= 1001; ++ms) {
    layers[0].done = static_cast<uint64_t>(ms - 2);
    report.Update(layers, At(ms));
  }
  // 2 so far, one for the first byte, ten for the second that it took.
  EXPECT_LE(out.messages.size(), 13u);
  EXPECT_GE(out.messages.size(), 11u);
  size_t before = out.messages.size();
  layers[0].done = 1000;
  report.Update(layers, At(1002));
  EXPECT_EQ(out.messages.back().layers(0).phase(), admin::PULL_PHASE_UNPACKING);
  layers[0].unpacked = true;
  report.Update(layers, At(1003));
  EXPECT_EQ(out.messages.back().layers(0).phase(), admin::PULL_PHASE_DONE);
  EXPECT_EQ(out.messages.back().phase(), admin::PULL_PHASE_DOWNLOADING);
  EXPECT_EQ(out.messages.size(), before + 2);
}

TEST(PullReport, LayersThatWereThereAreDone) {
  Recorder out;
  PullReport report(out, At(0));
  report.Update({{.digest = "sha256:a", .total = 7, .unpacked = true, .already_there = true}}, At(1));
  EXPECT_EQ(out.messages.back().layers(0).phase(), admin::PULL_PHASE_DONE);
  EXPECT_EQ(out.messages.back().layers(0).bytes_done(), 7u);
  EXPECT_EQ(out.messages.back().phase(), admin::PULL_PHASE_UNPACKING);
}

TEST(PullReport, ALayerMayBeginAnewButNotThePull) {
  Recorder out;
  PullReport report(out, At(0));
  std::vector<image::LayerProgress> layers = {{.digest = "sha256:a", .done = 10, .total = 10}};
  report.Update(layers, At(1));
  EXPECT_EQ(out.messages.back().phase(), admin::PULL_PHASE_UNPACKING);
  layers[0].done = 0;
  report.Update(layers, At(2));
  EXPECT_EQ(out.messages.back().layers(0).phase(), admin::PULL_PHASE_WAITING);
  EXPECT_EQ(out.messages.back().phase(), admin::PULL_PHASE_UNPACKING);
}

TEST(PullReport, NobodyListens) {
  Recorder out;
  PullReport report(out, At(0));
  EXPECT_TRUE(report.heard());
  out.listening = false;
  report.Update({{.digest = "sha256:a", .total = 7}}, At(1));
  EXPECT_FALSE(report.heard());
  report.Done("sha256:id");
  EXPECT_EQ(out.messages.size(), 2u);
}

}  // namespace
}  // namespace berth::service
