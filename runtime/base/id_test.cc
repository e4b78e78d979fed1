#include "runtime/base/id.h"

#include <gtest/gtest.h>

namespace berth {
namespace {

TEST(Id, RandomIdsAreHexAndDiffer) {
  std::string a = RandomHexId(), b = RandomHexId();
  EXPECT_EQ(a.size(), 64u);
  EXPECT_EQ(a.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(a, b);
  EXPECT_EQ(PodId(a).Short().size(), 12u);
}

TEST(Id, SafeNamesNeverLeaveTheirDirectory) {
  EXPECT_TRUE(IsSafeName("0.log"));
  EXPECT_TRUE(IsSafeName("web_1-a"));
  for (const char* bad : {"", ".", "..", ".hidden", "a/b", "../x", "a b", "a\n"}) EXPECT_FALSE(IsSafeName(bad)) << bad;
  EXPECT_FALSE(IsSafeName(std::string(129, 'a')));
}

}  // namespace
}  // namespace berth
