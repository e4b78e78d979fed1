#include "image/registry/server_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "absl/time/clock.h"

namespace berth::image {
namespace {

// Nobody is asked here: the queue only chooses.
class ServerQueueTest : public ::testing::Test {
 protected:
  ServerQueue Queue(const std::vector<std::string>& hosts) {
    std::vector<RegistrySession*> servers;
    for (const std::string& host : hosts) {
      Endpoint endpoint{.base = *ParseUrl(absl::StrCat("https://", host, "/v2"))};
      sessions_.push_back(std::make_unique<RegistrySession>(endpoint, *ParseReference("h.io/app"), Credentials(),
                                                            RegistrySession::Context()));
      servers.push_back(sessions_.back().get());
    }
    RetryPolicy policy{.attempts = 3, .first = absl::Milliseconds(20), .most = absl::Milliseconds(40)};
    return ServerQueue(servers, policy, health_, [this] { return cancelled_; });
  }
  std::string Next(ServerQueue& queue) {
    auto session = queue.Next();
    return session.ok() ? (*session)->endpoint().base.host : std::string(session.status().message());
  }

  HostHealth health_;
  bool cancelled_ = false;
  std::vector<std::unique_ptr<RegistrySession>> sessions_;
};

TEST_F(ServerQueueTest, InOrderAndThenTheRegistrysErrorCounts) {
  ServerQueue queue = Queue({"a", "b"});
  EXPECT_EQ(Next(queue), "a");
  queue.Failed(absl::NotFoundError("a has it not"));
  EXPECT_EQ(Next(queue), "b");
  queue.Failed(absl::PermissionDeniedError("b denies it"));
  EXPECT_EQ(Next(queue), "b denies it");
}

TEST_F(ServerQueueTest, WhatFailedForTheMomentIsAskedAgainAfterTheOthers) {
  ServerQueue queue = Queue({"a", "b"});
  std::map<std::string, int> asked;
  for (int i = 0; i < 6; ++i) {
    std::string host = Next(queue);
    if (i < 2) EXPECT_EQ(host, i == 0 ? "a" : "b") << "each once before one a second time";
    ++asked[host];
    queue.Failed(absl::UnavailableError(absl::StrCat(host, " is down")));
  }
  EXPECT_EQ(asked, (std::map<std::string, int>{{"a", 3}, {"b", 3}}));
  EXPECT_EQ(Next(queue), "b is down");
}

TEST_F(ServerQueueTest, ProgressCountsAsANewBeginning) {
  ServerQueue queue = Queue({"a"});
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Next(queue), "a") << i;
    queue.Failed(absl::UnavailableError("broken"), /*progress=*/true);
  }
}

TEST_F(ServerQueueTest, OneThatRestsOrIsUnreachableComesLater) {
  health_.LetRest("a:443", absl::Seconds(30));
  health_.SetUnreachable("b:443");
  ServerQueue queue = Queue({"a", "b", "c"});
  EXPECT_EQ(Next(queue), "c");
  queue.Failed(absl::NotFoundError(""));
  EXPECT_EQ(Next(queue), "b");
}

TEST_F(ServerQueueTest, AShortRestIsWaitedForAndALongOneIsNot) {
  health_.LetRest("a:443", absl::Milliseconds(50));
  ServerQueue queue = Queue({"a"});
  EXPECT_EQ(Next(queue), "a");
  EXPECT_EQ(health_.RestLeft("a:443"), absl::ZeroDuration());
  health_.LetRest("a:443", absl::Minutes(5));
  ServerQueue later = Queue({"a"});
  absl::Status status = later.Next().status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
}

TEST_F(ServerQueueTest, TheRestOfAHostBehindTheServerIsWaitedFor) {
  ServerQueue queue = Queue({"a"});
  EXPECT_EQ(Next(queue), "a");
  health_.LetRest("cdn:443", absl::Milliseconds(150));
  absl::Time begin = absl::Now();
  queue.Failed(health_.CheckRest("cdn:443"));
  EXPECT_EQ(Next(queue), "a");
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(140));
  health_.LetRest("cdn:443", absl::Minutes(5));
  queue.Failed(health_.CheckRest("cdn:443"));
  EXPECT_EQ(Next(queue), "cdn:443 asks to wait 5m");
}

TEST_F(ServerQueueTest, CancelledWhileItWaits) {
  health_.LetRest("a:443", absl::Seconds(30));
  ServerQueue queue = Queue({"a"});
  cancelled_ = true;
  EXPECT_TRUE(absl::IsCancelled(queue.Next().status()));
}

TEST_F(ServerQueueTest, NobodyToAsk) {
  ServerQueue queue = Queue({});
  EXPECT_TRUE(absl::IsNotFound(queue.Next().status()));
}

}  // namespace
}  // namespace berth::image
