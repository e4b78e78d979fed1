#include "image/registry/challenge.h"

#include <gtest/gtest.h>

namespace berth::image {
namespace {

TEST(Challenge, BearerWithQuotedCommas) {
  auto all =
      ParseChallenges(R"(Bearer realm="https://auth.io/token",service="reg.io",scope="repository:a/b:pull,push")");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].scheme, "bearer");
  EXPECT_EQ(all[0].Param("realm"), "https://auth.io/token");
  EXPECT_EQ(all[0].Param("service"), "reg.io");
  EXPECT_EQ(all[0].Param("scope"), "repository:a/b:pull,push");
  EXPECT_EQ(all[0].Param("error"), "");
}

TEST(Challenge, SeveralInOneHeader) {
  auto all = ParseChallenges(R"(Basic realm="a b", , BEARER Realm = "x", service=y)");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].scheme, "basic");
  EXPECT_EQ(all[0].Param("realm"), "a b");
  EXPECT_EQ(all[1].scheme, "bearer");
  EXPECT_EQ(all[1].Param("realm"), "x");
  EXPECT_EQ(all[1].Param("service"), "y");
}

TEST(Challenge, EscapesInQuotes) {
  auto all = ParseChallenges(R"(Basic realm="say \"hi\" \\")");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].Param("realm"), R"(say "hi" \)");
}

TEST(Challenge, TheFirstOfEqualNamesCounts) {
  auto all = ParseChallenges(R"(Bearer realm="good",realm="evil")");
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].Param("realm"), "good");
}

TEST(Challenge, MalformedEndsTheList) {
  EXPECT_TRUE(ParseChallenges("").empty());
  EXPECT_TRUE(ParseChallenges(" , ,").empty());
  EXPECT_TRUE(ParseChallenges("=x").empty());
  EXPECT_TRUE(ParseChallenges("realm=x").empty()) << "a parameter of no challenge";
  auto open = ParseChallenges(R"(Bearer realm="never closed)");
  ASSERT_EQ(open.size(), 1u);
  EXPECT_EQ(open[0].Param("realm"), "");
  EXPECT_EQ(ParseChallenges("Negotiate").size(), 1u);
}

}  // namespace
}  // namespace berth::image
