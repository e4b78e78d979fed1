#include "tests/bench/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/str_split.h"

namespace berth::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ReportTest : public ::testing::Test {
 protected:
  ReportTest() {
    for (double v : {3.0, 1.0, 2.0}) fast_.Add("exec_sync", "ms", v);
    for (double v : {30.0, 10.0, 20.0}) slow_.Add("exec_sync", "ms", v);
    fast_.Add("pod_memory", "KiB", 130.4);
    slow_.Add("pod_memory", "KiB", 10672);
    fast_.Add("remove_container", "ms", 4);
    slow_.Add("remove_container", "ms", 2);
    fast_.Add("only_here", "ms", 1);
  }

  Report Make() {
    return {.measurement = "start",
            .machine = "a machine",
            .rounds = 3,
            .subject = {"berth", "berth 1", &fast_},
            .peer = {"other", "other 2", &slow_},
            .ratios = {"pod_memory", "exec_sync", "not_taken"}};
  }

  static std::vector<std::string> Lines(const std::string& text) { return absl::StrSplit(text, '\n'); }

  Samples fast_, slow_;
};

TEST_F(ReportTest, EndsWithTheRatiosInTheOrderAskedFor) {
  std::vector<std::string> lines = Lines(FormatTable(Make()));
  ASSERT_GE(lines.size(), 3u);
  lines.erase(lines.begin(), lines.end() - 4);
  EXPECT_THAT(lines, ElementsAre("", "ratio pod_memory 81.8", "ratio exec_sync 10.0", ""));
}

TEST_F(ReportTest, ARowHasBothSidesAndTheRatioOfTheMedians) {
  std::string table = FormatTable(Make());
  EXPECT_THAT(table, HasSubstr("exec_sync            ms          2.00      3.00      1.00"
                               "       20.00     30.00     10.00     10.0  10.0 to 10.0\n"));
  EXPECT_THAT(table, HasSubstr("remove_container     ms          4.00      4.00      4.00"
                               "        2.00      2.00      2.00    0.500  0.500 to 0.500\n"));
  EXPECT_THAT(table, HasSubstr("pod_memory           KiB          130       130       130"));
}

TEST_F(ReportTest, OfARateMoreIsBetter) {
  fast_.Add("exec_out", kRateUnit, 3000);
  slow_.Add("exec_out", kRateUnit, 1500);
  EXPECT_THAT(FormatTable(Make()), HasSubstr("exec_out             MB/s        3000      3000      3000"
                                             "        1500      1500      1500     2.00  2.00 to 2.00\n"));
}

TEST_F(ReportTest, SaysWhoWasMeasuredWhereAndHowOften) {
  std::string table = FormatTable(Make());
  EXPECT_THAT(table, HasSubstr("start: 3 rounds in turn, berth = berth 1, other = other 2\na machine\n"));
}

TEST_F(ReportTest, WhatOneSideLacksIsLeftOut) {
  EXPECT_THAT(FormatTable(Make()), Not(HasSubstr("only_here")));
  EXPECT_THAT(FormatTable(Make()), Not(HasSubstr("not_taken")));
  EXPECT_THAT(FormatJson(Make()), Not(HasSubstr("only_here")));
}

TEST_F(ReportTest, JsonHasEveryValue) {
  nlohmann::json json = nlohmann::json::parse(FormatJson(Make()));
  EXPECT_EQ(json["measurement"], "start");
  EXPECT_EQ(json["rounds"], 3);
  EXPECT_EQ(json["peer"]["version"], "other 2");
  ASSERT_EQ(json["measures"].size(), 3u);
  const auto& exec = json["measures"][1];
  EXPECT_EQ(exec["name"], "exec_sync");
  EXPECT_EQ(exec["unit"], "ms");
  EXPECT_EQ(exec["ratio"], 10.0);
  EXPECT_EQ(exec["ratio_95"], (std::vector<double>{10, 10}));
  EXPECT_EQ(exec["subject"]["values"], (std::vector<double>{3, 1, 2}));
  EXPECT_EQ(exec["peer"]["median"], 20.0);
  EXPECT_EQ(exec["peer"]["count"], 3);
}

TEST(DescribeMachine, KnowsTheKernel) { EXPECT_THAT(DescribeMachine(), HasSubstr("Linux ")); }

}  // namespace
}  // namespace berth::bench
