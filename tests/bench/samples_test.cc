#include "tests/bench/samples.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>

namespace berth::bench {
namespace {

using ::testing::ElementsAre;

std::vector<double> Counting(int n) {
  std::vector<double> v(n);
  std::iota(v.rbegin(), v.rend(), 1);  // n … 1: never in order
  return v;
}

TEST(Summarize, NothingIsZero) {
  Summary s = Summarize({});
  EXPECT_EQ(s.count, 0u);
  EXPECT_EQ(s.median, 0);
  EXPECT_EQ(s.p99, 0);
}

TEST(Summarize, OneValueIsAllOfThem) {
  Summary s = Summarize({7});
  EXPECT_EQ(s.count, 1u);
  EXPECT_EQ(s.min, 7);
  EXPECT_EQ(s.median, 7);
  EXPECT_EQ(s.p99, 7);
}

TEST(Summarize, MedianOfOddAndEvenNumbers) {
  EXPECT_EQ(Summarize({9, 1, 5}).median, 5);
  EXPECT_EQ(Summarize({9, 1, 5, 6}).median, 5.5);
  EXPECT_EQ(Summarize({1, 1, 1000}).median, 1);
}

TEST(Summarize, P99IsTheNearestRank) {
  EXPECT_EQ(Summarize(Counting(10)).p99, 10);
  EXPECT_EQ(Summarize(Counting(99)).p99, 99);
  EXPECT_EQ(Summarize(Counting(100)).p99, 99);
  EXPECT_EQ(Summarize(Counting(101)).p99, 100);
  EXPECT_EQ(Summarize(Counting(1000)).p99, 990);
}

TEST(Summarize, MinIsFoundAnywhere) { EXPECT_EQ(Summarize({3, 2, 8}).min, 2); }

TEST(Ratio, SaysHowManyTimesLessTheSubjectTakes) {
  EXPECT_EQ(Ratio(10, 50), 5);
  EXPECT_EQ(Ratio(50, 10), 0.2);
}

TEST(Ratio, IsUnknownWithoutTwoPositiveValues) {
  EXPECT_EQ(Ratio(0, 50), 0);
  EXPECT_EQ(Ratio(50, 0), 0);
  EXPECT_EQ(Ratio(-1, 2), 0);
}

TEST(RatioInterval, OfValuesThatDoNotScatterIsAPoint) {
  Interval i = RatioInterval({2, 2, 2, 2}, {6, 6, 6, 6});
  EXPECT_EQ(i.low, 3);
  EXPECT_EQ(i.high, 3);
}

TEST(RatioInterval, HoldsOneForTwoSamplesOfTheSame) {
  std::vector<double> values = Counting(60), shuffled;
  for (size_t i = 0; i < values.size(); ++i) shuffled.push_back(values[i * 7 % values.size()]);
  Interval i = RatioInterval(values, shuffled);
  EXPECT_LT(i.low, 1);
  EXPECT_GT(i.high, 1);
}

TEST(RatioInterval, IsWiderForFewerRounds) {
  auto width = [](int n) {
    std::vector<double> a, b;
    for (int i = 0; i < n; ++i) {
      a.push_back(10 + i * 7 % 10);
      b.push_back(20 + i * 3 % 10);
    }
    Interval i = RatioInterval(a, b);
    return i.high - i.low;
  };
  EXPECT_GT(width(10), width(400));
}

TEST(RatioInterval, ALoadThatBothMetDoesNotCount) {
  std::vector<double> a, b;
  for (int i = 1; i <= 31; ++i) {
    a.push_back(i);
    b.push_back(5 * i);
  }
  Interval i = RatioInterval(a, b);
  EXPECT_EQ(i.low, 5);
  EXPECT_EQ(i.high, 5);
  b.push_back(5 * 32);  // no longer pairs
  EXPECT_LT(RatioInterval(a, b).low, 5);
}

TEST(RatioInterval, OfNothingIsNothing) {
  EXPECT_EQ(RatioInterval({}, {1}).high, 0);
  EXPECT_EQ(RatioInterval({1}, {}).high, 0);
}

TEST(FormatRatio, ThreeSignificantDigits) {
  EXPECT_EQ(FormatRatio(12.345), "12.3");
  EXPECT_EQ(FormatRatio(1.0), "1.00");
  EXPECT_EQ(FormatRatio(104.4), "104");
  EXPECT_EQ(FormatRatio(0.98765), "0.988");
  EXPECT_EQ(FormatRatio(12345), "12345");
  EXPECT_EQ(FormatRatio(0.000012345), "0.000012");
}

TEST(FormatRatio, UnknownIsSaidSo) {
  EXPECT_EQ(FormatRatio(0), "n/a");
  EXPECT_EQ(FormatRatio(std::numeric_limits<double>::quiet_NaN()), "n/a");
}

TEST(Samples, KeepsNamesInTheOrderOfTheirFirstValue) {
  Samples samples;
  samples.Add("b", "ms", 1);
  samples.Add("a", "KiB", 2);
  samples.Add("b", "ms", 3);
  ASSERT_EQ(samples.all().size(), 2u);
  EXPECT_EQ(samples.all()[0].name, "b");
  EXPECT_EQ(samples.all()[0].unit, "ms");
  EXPECT_THAT(samples.all()[0].values, ElementsAre(1, 3));
  EXPECT_THAT(samples.Find("a")->values, ElementsAre(2));
  EXPECT_EQ(samples.Find("c"), nullptr);
}

}  // namespace
}  // namespace berth::bench
