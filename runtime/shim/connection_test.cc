#include "runtime/shim/connection.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace berth::shim {
namespace {

TEST(Connection, WhatThePeerDoesNotReadIsKeptInOrder) {
  auto pair = sys::SeqpacketPair();
  Connection ours(std::move(pair->first)), theirs(std::move(pair->second));
  const std::string big(30000, 'x');
  const int fds[] = {2};
  int sent = 0;
  while (!ours.wants_write()) ASSERT_TRUE(ours.Send(absl::StrCat(sent++, " ", big), fds).ok());
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(ours.Send(absl::StrCat(sent++, " ", big), fds).ok());
  for (int expected = 0; expected < sent; ++expected) {
    auto message = theirs.Read();
    ASSERT_TRUE(message.ok()) << message.status();
    if (!message->has_value()) {
      ASSERT_TRUE(ours.Flush().ok());
      --expected;
      continue;
    }
    EXPECT_EQ((*message)->body.substr(0, (*message)->body.find(' ')), absl::StrCat(expected));
    EXPECT_EQ((*message)->fds.size(), 1u);
  }
  EXPECT_FALSE(ours.wants_write());
  EXPECT_FALSE(theirs.Read()->has_value());
}

TEST(Connection, APeerThatNeverReadsIsGivenUp) {
  auto pair = sys::SeqpacketPair();
  Connection ours(std::move(pair->first));
  const std::string megabyte(1 << 20, 'x');
  absl::Status status;
  for (int i = 0; i < 40 && status.ok(); ++i) status = ours.Send(megabyte);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
}

TEST(Connection, TheEndAndGarbageEndIt) {
  auto pair = sys::SeqpacketPair();
  Connection ours(std::move(pair->first));
  ASSERT_TRUE(sys::SendPacket(pair->second.get(), "garbage that is no message", {}).ok());
  EXPECT_EQ(ours.Read().status().code(), absl::StatusCode::kInvalidArgument);
  pair->second.Reset();
  EXPECT_EQ(ours.Read().status().code(), absl::StatusCode::kOutOfRange);
}

}  // namespace
}  // namespace berth::shim
