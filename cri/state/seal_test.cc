#include "cri/state/seal.h"

#include <gtest/gtest.h>

namespace berth::state {
namespace {

TEST(SealTest, WhatWasSealedIsWhole) {
  for (const std::string& data : {std::string(), std::string("\0\xff", 2), std::string(5000, 'x')}) {
    Unsealed back = Unseal(1, "id", Seal(1, "id", data));
    EXPECT_TRUE(back.whole);
    EXPECT_EQ(back.data, data);
  }
}

TEST(SealTest, AnyOtherByteKindOrIdIsSeen) {
  const std::string sealed = Seal(0, "abc", "some data");
  for (size_t at = 0; at < sealed.size(); ++at) {
    std::string other = sealed;
    other[at] = static_cast<char>(other[at] ^ 1);
    EXPECT_FALSE(Unseal(0, "abc", other).whole) << at;
  }
  EXPECT_FALSE(Unseal(1, "abc", sealed).whole);
  EXPECT_FALSE(Unseal(0, "abd", sealed).whole);
  EXPECT_FALSE(Unseal(0, "abc", sealed.substr(0, sealed.size() - 1)).whole);
}

TEST(SealTest, RecordsOfFormerDaemonsHaveNone) {
  const std::string former =
      "\x0a\x03"
      "abc\x12\x02xy";
  EXPECT_TRUE(Unseal(0, "abc", former).whole);
  EXPECT_EQ(Unseal(0, "abc", former).data, former);
  EXPECT_FALSE(Unseal(0, "abd", former).whole);
  EXPECT_FALSE(Unseal(0, "abc", "").whole);
  // One that such a daemon wrote again: our seal is behind the rest, and counts for nothing.
  const std::string again = former + Seal(0, "abc", "before").substr(0, 6);
  EXPECT_TRUE(Unseal(0, "abc", again).whole);
}

}  // namespace
}  // namespace berth::state
