// Pulls that run at the same time and have something to do with each other: a layer, a host, the limit of transfers.
#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "image/pull/layer_flights.h"
#include "image/pull/testing_store.h"
#include "image/pull/transfer_slots.h"

namespace berth::image {
namespace {

using namespace testing_store;  // NOLINT: the names of this test's world
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PullSharing : public StoreFixture {
 protected:
  absl::StatusOr<Image> PullIt(const FaultServer& server, std::function<bool()> cancelled = {}) {
    return store_->Pull({.reference = server.host() + "/app:v1", .cancelled = std::move(cancelled)});
  }
};

const std::map<std::string, std::string> kBase = {{"base", testing_image::Noise(300'000, 1)}};

// Two images on one base layer, each on a server of its own.
struct TwoImages {
  TestImage one = MakeImage({kBase, {{"one", "1"}}}), two = MakeImage({kBase, {{"two", "2"}}});
  std::string base = one.layers[0];

  static int Count(const FaultServer& server, const std::string& part) {
    int count = 0;
    for (const Request& request : server.requests()) count += absl::StrContains(request.target, part);
    return count;
  }
};

TEST_F(PullSharing, ALayerOfTwoImagesIsFetchedOnce) {
  TwoImages images;
  absl::Notification begun;
  FaultServer first(Serving(images.one, [&](const Request& request, Reply& reply) {
    if (!absl::StrContains(request.target, images.base)) return false;
    begun.Notify();
    reply.delay_ms = 700;
    return false;
  }));
  FaultServer second(Serving(images.two));
  absl::Status status;
  std::thread other([&] { status = PullIt(first).status(); });
  begun.WaitForNotification();
  auto image = PullIt(second);
  other.join();
  ASSERT_TRUE(image.ok()) << image.status();
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(TwoImages::Count(first, images.base), 1);
  EXPECT_EQ(TwoImages::Count(second, images.base), 0);
  EXPECT_EQ(store_->List()->size(), 2u);
}

TEST_F(PullSharing, WhoWaitsFetchesItselfWhenTheFirstFails) {
  TwoImages images;
  absl::Notification begun;
  FaultServer lying(Serving(images.one, [&](const Request& request, Reply& reply) {
    if (!absl::StrContains(request.target, images.base)) return false;
    begun.Notify();
    reply = {.body = std::string(images.one.blobs.at(images.base).size(), 'x'), .delay_ms = 500};
    return true;
  }));
  FaultServer honest(Serving(images.two));
  absl::Status status;
  std::thread other([&] { status = PullIt(lying).status(); });
  begun.WaitForNotification();
  auto image = PullIt(honest);
  other.join();
  EXPECT_TRUE(image.ok()) << image.status();
  EXPECT_FALSE(status.ok()) << "one's lie is not the other's luck";
  EXPECT_EQ(TwoImages::Count(honest, images.base), 1);
}

TEST_F(PullSharing, WhoWaitsFetchesItselfWhenTheFirstIsCancelled) {
  TwoImages images;
  absl::Notification begun, leave;
  FaultServer slow(Serving(images.one, [&](const Request& request, Reply& reply) {
    if (!absl::StrContains(request.target, images.base)) return false;
    begun.Notify();
    reply.delay_ms = 20'000;
    return false;
  }));
  FaultServer quick(Serving(images.two));
  absl::Status status;
  std::thread other([&] { status = PullIt(slow, [&] { return leave.HasBeenNotified(); }).status(); });
  begun.WaitForNotification();
  std::thread canceller([&] {
    absl::SleepFor(absl::Milliseconds(300));
    leave.Notify();
  });
  auto image = PullIt(quick);
  other.join();
  canceller.join();
  EXPECT_TRUE(image.ok()) << image.status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
}

TEST_F(PullSharing, ALayerIsThereForOthersBeforeItsImageIs) {
  TwoImages images;
  absl::Notification begun;
  std::atomic<bool> finish{false};
  // The first image's own layer comes only when the second image is there.
  FaultServer first(Serving(images.one, [&](const Request& request, Reply& reply) {
    if (absl::StrContains(request.target, images.base)) {
      begun.Notify();
      reply.delay_ms = 500;
    }
    while (absl::StrContains(request.target, images.one.layers[1]) && !finish) absl::SleepFor(absl::Milliseconds(10));
    return false;
  }));
  FaultServer second(Serving(images.two));
  absl::Status status;
  std::thread other([&] { status = PullIt(first).status(); });
  begun.WaitForNotification();
  auto image = PullIt(second);
  EXPECT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(TwoImages::Count(second, images.base), 0) << "it waited for the layer, not for the image";
  finish = true;
  other.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(PullSharing, ManyPullsOfLayersInAnyOrderEnd) {
  const std::map<std::string, std::string> a = {{"a", testing_image::Noise(100'000, 2)}},
                                           b = {{"b", testing_image::Noise(100'000, 3)}},
                                           c = {{"c", testing_image::Noise(100'000, 4)}};
  Open({.parallel_layers = 1, .max_transfers = 2});
  std::vector<TestImage> images = {MakeImage({a, b, c}), MakeImage({c, b, a}), MakeImage({b, a}), MakeImage({c, a})};
  std::vector<std::unique_ptr<FaultServer>> servers;
  for (const TestImage& image : images) {
    servers.push_back(std::make_unique<FaultServer>(Serving(image, [](const Request&, Reply& reply) {
      reply.delay_ms = 30;
      return false;
    })));
  }
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (const auto& server : servers) threads.emplace_back([&] { good += PullIt(*server).ok(); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good.load(), 4);
}

TEST_F(PullSharing, NoMoreTransfersThanAreAllowed) {
  Open({.max_transfers = 2});
  std::atomic<int> now{0}, most{0};
  auto watched = [&](const TestImage& image) {
    return Serving(image, [&](const Request& request, Reply&) {
      bool layer =
          absl::StrContains(request.target, image.layers[0]) || absl::StrContains(request.target, image.layers[1]);
      if (!layer) return false;
      int at = ++now;
      for (int seen = most; at > seen && !most.compare_exchange_weak(seen, at);) continue;
      absl::SleepFor(absl::Milliseconds(200));
      --now;
      return false;
    });
  };
  TestImage one = MakeImage({{{"a", "1"}}, {{"b", "2"}}}), two = MakeImage({{{"c", "3"}}, {{"d", "4"}}});
  FaultServer first(watched(one)), second(watched(two));
  std::thread other([&] { EXPECT_TRUE(PullIt(first).ok()); });
  EXPECT_TRUE(PullIt(second).ok());
  other.join();
  EXPECT_EQ(most.load(), 2);
}

TEST_F(PullSharing, WhatAHostAskedForHoldsForEveryPull) {
  std::atomic<int> refused{0};
  std::atomic<int64_t> refused_at{0};
  std::vector<int64_t> asked_at;
  absl::Mutex mutex;
  TestImage image = MakeImage({{{"a", "1"}}});
  FaultServer server(Serving(image, [&](const Request&, Reply& reply) {
    if (refused++ == 0) {
      refused_at = absl::ToUnixMillis(absl::Now());
      reply = {.status = 429, .headers = {"Retry-After: 2"}};
      return true;
    }
    absl::MutexLock lock(&mutex);
    asked_at.push_back(absl::ToUnixMillis(absl::Now()));
    return false;
  }));
  std::thread first([&] { EXPECT_TRUE(PullIt(server).ok()); });
  while (refused_at == 0) absl::SleepFor(absl::Milliseconds(5));
  absl::SleepFor(absl::Milliseconds(200));  // the refusal reaches the client
  EXPECT_TRUE(store_->Pull({.reference = server.host() + "/app:v2"}).ok());
  first.join();
  for (int64_t at : asked_at) EXPECT_GE(at, refused_at + 1950);
}

TEST_F(PullSharing, TheNextMirrorIsAskedWhileOneRests) {
  TestImage image = MakeImage({{{"a", "1"}}});
  FaultServer resting([](const Request&) { return Reply{.status = 503, .headers = {"Retry-After: 50"}}; });
  FaultServer server(Serving(image));
  WriteHosts(server.host(),
             absl::StrCat("server = \"http://", server.host(), "\"\n[host.\"http://", resting.host(), "\"]\n"));
  absl::Time begin = absl::Now();
  EXPECT_TRUE(PullIt(server).ok());
  EXPECT_TRUE(store_->Pull({.reference = server.host() + "/app:v2"}).ok());
  EXPECT_LT(absl::Now() - begin, absl::Seconds(20));
  EXPECT_EQ(resting.requests().size(), 1u) << "the second pull knows";
}

TEST(LayerFlights, AFlightThatHardlyMovesIsNotWaitedFor) {
  LayerFlights flights;
  LayerFlights::Claim first = flights.TryClaim("x"), second = flights.TryClaim("x");
  ASSERT_TRUE(first.mine());
  ASSERT_FALSE(second.mine());
  std::atomic<bool> stop{false};
  std::thread drip([&] {
    for (uint64_t bytes = 1; !stop; ++bytes) {
      first.flight().SetReceived(bytes);
      absl::SleepFor(absl::Milliseconds(50));
    }
  });
  absl::StatusOr<bool> over = flights.Await(second.flight(), {}, [](uint64_t) {});
  stop = true;
  drip.join();
  ASSERT_TRUE(over.ok()) << over.status();
  EXPECT_FALSE(*over);
}

TEST(LayerFlights, TheEndIsTold) {
  LayerFlights flights;
  LayerFlights::Claim first = flights.TryClaim("x"), second = flights.TryClaim("x");
  EXPECT_FALSE(first.flight().wanted());
  std::thread ender([&] {
    while (!first.flight().wanted()) absl::SleepFor(absl::Milliseconds(1));
    first = LayerFlights::Claim();
  });
  absl::StatusOr<bool> over = flights.Await(second.flight(), {}, [](uint64_t) {});
  ender.join();
  EXPECT_TRUE(over.ok() && *over);
  EXPECT_TRUE(flights.TryClaim("x").mine()) << "it can be had again";
  LayerFlights::Claim other = flights.TryClaim("y");
  EXPECT_TRUE(absl::IsCancelled(flights
                                    .Await(
                                        other.flight(), [] { return true; }, [](uint64_t) {})
                                    .status()));
}

TEST(TransferSlots, OneMoreThanThereAreWaits) {
  TransferSlots slots(1);
  auto first = slots.Take({});
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(slots.TryTake());
  EXPECT_TRUE(absl::IsCancelled(slots.Take([] { return true; }).status()));
  *first = TransferSlots::Slot();
  EXPECT_TRUE(slots.TryTake());
  EXPECT_TRUE(slots.Take({}).ok());
}

}  // namespace
}  // namespace berth::image
