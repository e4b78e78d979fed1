#include <gtest/gtest.h>

#include <sstream>

#include "cli/text/human.h"
#include "cli/text/table.h"

namespace berth::cli {
namespace {

TEST(Table, AlignsColumnsAndLeavesNoTrailingSpace) {
  Table table({"NAME", "STATE"});
  table.Add({"a-long-name", "Running"});
  table.Add({"b"});
  table.Add({"c", "Exited", "surplus"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(),
            "NAME         STATE\n"
            "a-long-name  Running\n"
            "b\n"
            "c            Exited\n");
}

TEST(Table, CountsCharactersNotBytes) {
  Table table({"N", "S"});
  table.Add({"h\xc3\xa4user", "1"});
  table.Add({"hauser", "2"});
  std::ostringstream out;
  table.Print(out);
  EXPECT_EQ(out.str(), "N       S\nh\xc3\xa4user  1\nhauser  2\n");
}

TEST(Table, EscapeSequencesDoNotReachTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[31mb\nc"), "a?[31mb?c");
  EXPECT_EQ(Printable("a\nb", true), "a\nb");
}

TEST(Human, Bytes) {
  EXPECT_EQ(HumanBytes(0), "0B");
  EXPECT_EQ(HumanBytes(999), "999B");
  EXPECT_EQ(HumanBytes(1024), "1.02kB");
  EXPECT_EQ(HumanBytes(999'600), "1MB");
  EXPECT_EQ(HumanBytes(187'000'000), "187MB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "18.4EB");
}

TEST(Human, DurationsAndAges) {
  EXPECT_EQ(HumanDuration(absl::Milliseconds(20)), "Less than a second");
  EXPECT_EQ(HumanDuration(-absl::Hours(1)), "Less than a second");
  EXPECT_EQ(HumanDuration(absl::Seconds(1)), "1 second");
  EXPECT_EQ(HumanDuration(absl::Seconds(119)), "1 minute");
  EXPECT_EQ(HumanDuration(absl::Hours(49)), "2 days");
  absl::Time now = absl::FromUnixSeconds(1000);
  EXPECT_EQ(HumanAge(absl::ToUnixNanos(now - absl::Minutes(5)), now), "5 minutes ago");
  EXPECT_EQ(HumanAge(0, now), "");
  EXPECT_EQ(FormatTime(1'500'000'000), "1970-01-01T00:00:01.500000000Z");
}

TEST(Human, ParsesDurations) {
  EXPECT_EQ(*ParseDuration("90"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(*ParseDuration("500ms"), absl::Milliseconds(500));
  for (const char* bad : {"", "soon", "5 minutes", "-5s", "-1"}) EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
}

TEST(Human, ParsesSince) {
  absl::Time now = absl::FromUnixSeconds(10'000);
  EXPECT_EQ(*ParseSince("10m", now), now - absl::Minutes(10));
  EXPECT_EQ(*ParseSince("1970-01-01T00:00:05Z", now), absl::FromUnixSeconds(5));
  EXPECT_FALSE(ParseSince("yesterday", now).ok());
}

}  // namespace
}  // namespace berth::cli
