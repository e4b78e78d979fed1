#include "image/unpack/tar_numbers.h"

#include <gtest/gtest.h>

#include <limits>

namespace berth::image {
namespace {

TEST(TarNumber, OctalBetweenBlanks) {
  EXPECT_EQ(ParseTarNumber("0000644"), 0644);
  EXPECT_EQ(ParseTarNumber(absl::string_view("   644 \0", 8)), 0644);
  EXPECT_EQ(ParseTarNumber(absl::string_view("\0\0\0\0", 4)), 0);
  EXPECT_EQ(ParseTarNumber(""), 0);
  EXPECT_EQ(ParseTarNumber("777777777777"), 0777777777777);
  for (absl::string_view bad : {"648", "-1", "0x1", "6 4", "a"}) EXPECT_EQ(ParseTarNumber(bad), std::nullopt) << bad;
}

TEST(TarNumber, Base256) {
  EXPECT_EQ(ParseTarNumber(absl::string_view("\x80\0\0\0\0\0\0\0\0\0\x01\x02", 12)), 258);
  EXPECT_EQ(ParseTarNumber("\xff\xff\xff\xff\xff\xff\xff\xfe"), -2);
  EXPECT_EQ(ParseTarNumber(absl::string_view("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12)),
            std::numeric_limits<int64_t>::max());
  EXPECT_EQ(ParseTarNumber(absl::string_view("\x80\0\0\0\x80\0\0\0\0\0\0\0", 12)), std::nullopt);
  EXPECT_EQ(ParseTarNumber("\x80\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01"), std::nullopt);
}

TEST(PaxNumber, DigitsOnly) {
  EXPECT_EQ(ParsePaxNumber("18446744073709551615"), std::numeric_limits<uint64_t>::max());
  for (absl::string_view bad : {"", "-1", "+1", " 1", "1 ", "1.5", "18446744073709551616"}) {
    EXPECT_EQ(ParsePaxNumber(bad), std::nullopt) << bad;
  }
}

TEST(PaxTime, FractionsSignsAndExtremes) {
  auto time = ParsePaxTime("12.5");
  ASSERT_TRUE(time);
  EXPECT_EQ(time->tv_sec, 12);
  EXPECT_EQ(time->tv_nsec, 500'000'000);
  time = ParsePaxTime("-1.25");
  EXPECT_EQ(time->tv_sec, -2);
  EXPECT_EQ(time->tv_nsec, 750'000'000);
  time = ParsePaxTime("3.1234567899999");
  EXPECT_EQ(time->tv_nsec, 123'456'789);
  EXPECT_EQ(ParsePaxTime("7.")->tv_sec, 7);
  EXPECT_EQ(ParsePaxTime("99999999999999999999999")->tv_sec, std::numeric_limits<int64_t>::max());
  for (absl::string_view bad : {"", ".", ".5", "-", "1e5", "1.x", "--1", "1.-2"})
    EXPECT_FALSE(ParsePaxTime(bad)) << bad;
}

}  // namespace
}  // namespace berth::image
