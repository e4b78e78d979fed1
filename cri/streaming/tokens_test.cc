#include "cri/streaming/tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace berth::streaming {
namespace {

using testing::MatchesRegex;

class TokensTest : public testing::Test {
 protected:
  Tokens::Clock::time_point now_;
  Tokens tokens_{std::chrono::seconds(60), 3, [this] { return now_; }};
};

TEST_F(TokensTest, ATokenIsGoodOnce) {
  auto token = tokens_.Add(ExecRequest{.container_id = "c", .argv = {"ls"}});
  ASSERT_TRUE(token.ok());
  auto seen = tokens_.Find(*token);
  ASSERT_TRUE(seen);
  EXPECT_EQ(std::get<ExecRequest>(*seen).argv, std::vector<std::string>{"ls"});
  auto taken = tokens_.Take(*token);
  ASSERT_TRUE(taken);
  EXPECT_EQ(std::get<ExecRequest>(*taken).container_id, "c");
  EXPECT_FALSE(tokens_.Take(*token));
  EXPECT_FALSE(tokens_.Find(*token));
}

TEST_F(TokensTest, TokensAre128BitsOfBase64Url) {
  Tokens many(std::chrono::seconds(60), 10000);
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    auto token = many.Add(AttachRequest{});
    ASSERT_TRUE(token.ok());
    EXPECT_THAT(*token, MatchesRegex("[A-Za-z0-9_-]+"));
    EXPECT_EQ(token->size(), 22u);
    EXPECT_TRUE(seen.insert(*token).second);
  }
}

TEST_F(TokensTest, UnknownTokensAreNothing) {
  auto token = tokens_.Add(AttachRequest{});
  for (const std::string& other : {std::string(), *token + "x", token->substr(1), std::string(1 << 20, 'x')}) {
    EXPECT_FALSE(tokens_.Find(other));
    EXPECT_FALSE(tokens_.Take(other));
  }
  EXPECT_TRUE(tokens_.Take(*token));
}

TEST_F(TokensTest, ATokenExpires) {
  auto token = tokens_.Add(AttachRequest{});
  now_ += std::chrono::milliseconds(59999);
  EXPECT_TRUE(tokens_.Find(*token));
  now_ += std::chrono::milliseconds(1);
  EXPECT_FALSE(tokens_.Find(*token));
  EXPECT_FALSE(tokens_.Take(*token));
}

TEST_F(TokensTest, TheNumberThatWaitsIsBounded) {
  std::vector<std::string> made;
  for (int i = 0; i < 3; ++i) made.push_back(*tokens_.Add(AttachRequest{}));
  EXPECT_EQ(tokens_.Add(AttachRequest{}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(tokens_.Take(made[1]));
  EXPECT_TRUE(tokens_.Add(AttachRequest{}).ok());
  EXPECT_EQ(tokens_.Add(AttachRequest{}).status().code(), absl::StatusCode::kResourceExhausted);
  now_ += std::chrono::seconds(60);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(tokens_.Add(AttachRequest{}).ok());
}

TEST_F(TokensTest, OneOfManyTakersGetsIt) {
  Tokens tokens(std::chrono::seconds(60), 1000);
  for (int round = 0; round < 100; ++round) {
    auto token = tokens.Add(AttachRequest{});
    std::atomic<int> taken = 0;
    std::vector<std::thread> takers;
    for (int i = 0; i < 4; ++i) takers.emplace_back([&] { taken += tokens.Take(*token).has_value(); });
    for (auto& t : takers) t.join();
    EXPECT_EQ(taken, 1);
  }
}

}  // namespace
}  // namespace berth::streaming
