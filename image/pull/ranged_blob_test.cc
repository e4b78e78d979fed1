#include "image/pull/ranged_blob.h"

#include <atomic>
#include <mutex>

#include "absl/time/clock.h"
#include "image/pull/testing_store.h"
#include "image/registry/host_health.h"
#include "image/registry/token_source.h"

namespace berth::image {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;
using testing_server::FaultServer;
using testing_server::Reply;
using testing_server::Request;
using testing_server::Serving;

// A blob of nine chunks and a bit.
class RangedBlobTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kSize = 9 * RangedBlob::kChunk + 12345;

  RangedBlobTest() : bytes_(testing_image::Noise(kSize, 3)) {
    image_.blobs["blob"] = bytes_;
    transfer_ = {.digest = "blob", .size = kSize};
  }
  void Serve(std::function<bool(const Request&, Reply&)> before = {}) {
    server_ = std::make_unique<FaultServer>(Serving(image_, std::move(before)));
    Endpoint endpoint{.base = *ParseUrl(absl::StrCat("http://", server_->host(), "/v2"))};
    session_ = std::make_unique<RegistrySession>(endpoint, *ParseReference(server_->host() + "/app"), Credentials(),
                                                 RegistrySession::Context{.http = &http_, .tokens = &tokens_});
  }
  absl::Status Get(int connections, const Cancelled& stopped = {}) {
    RangedBlob blob{.session = session_.get(), .slots = &slots_, .connections = connections, .large = kSize - 1};
    auto sink = [&](absl::string_view bytes) -> absl::Status {
      got_.append(bytes.data(), bytes.size());
      return sink_status_;
    };
    return GetBlobInRanges(blob, transfer_, sink, stopped);
  }
  std::vector<std::string> Ranges() {
    std::vector<std::string> out;
    for (const Request& request : server_->requests()) {
      if (request.headers.count("range")) out.push_back(request.headers.at("range"));
    }
    return out;
  }

  testing_image::TestImage image_;
  std::string bytes_, got_;
  BlobTransfer transfer_;
  absl::Status sink_status_;
  HostHealth health_;
  HttpClient http_{HttpClient::Options(), health_};
  TokenSource tokens_;
  TransferSlots slots_{4};
  std::unique_ptr<FaultServer> server_;
  std::unique_ptr<RegistrySession> session_;
};

TEST_F(RangedBlobTest, ChunksArriveInOrderOverSeveralConnections) {
  std::atomic<int> count{0}, now{0}, most{0};
  Serve([&](const Request&, Reply& reply) {
    int at = ++now;
    for (int seen = most; at > seen && !most.compare_exchange_weak(seen, at);) continue;
    // The first one is the slowest.
    reply.delay_ms = count++ == 0 ? 400 : 50;
    absl::SleepFor(absl::Milliseconds(30));
    --now;
    return false;
  });
  absl::Status status = Get(3);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == bytes_);
  EXPECT_EQ(transfer_.received, kSize);
  EXPECT_EQ(Ranges().size(), 10u);
  EXPECT_LE(most.load(), 3);
  EXPECT_TRUE(slots_.TryTake()) << "they were given back";
}

TEST_F(RangedBlobTest, NoChunkIsFetchedFurtherAheadThanAllowed) {
  std::atomic<uint64_t> furthest{0};
  std::atomic<bool> first_may_go{false};
  Serve([&](const Request& request, Reply&) {
    uint64_t from = std::stoull(request.headers.at("range").substr(6));
    for (uint64_t seen = furthest; from > seen && !furthest.compare_exchange_weak(seen, from);) continue;
    while (from == 0 && !first_may_go) absl::SleepFor(absl::Milliseconds(10));
    return false;
  });
  std::thread opener([&] {
    absl::SleepFor(absl::Milliseconds(500));
    EXPECT_EQ(furthest.load(), 2 * RangedBlob::kChunk) << "chunks 0, 1 and 2 are all that three connections may hold";
    first_may_go = true;
  });
  EXPECT_TRUE(Get(3).ok());
  opener.join();
  EXPECT_TRUE(got_ == bytes_);
}

TEST_F(RangedBlobTest, AServerWithoutRangesGivesItOverOneConnection) {
  Serve([&](const Request&, Reply& reply) {
    reply.body = bytes_;
    return true;
  });
  absl::Status status = Get(4);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(got_ == bytes_);
  EXPECT_EQ(server_->requests().back().headers.count("range"), 0u);
}

TEST_F(RangedBlobTest, ABrokenChunkEndsItWhereItWas) {
  std::atomic<int> broken{0};
  Serve([&](const Request& request, Reply& reply) {
    if (request.headers.count("range") == 0) return false;
    if (!absl::StartsWith(request.headers.at("range"), absl::StrCat("bytes=", 4 * RangedBlob::kChunk, "-")))
      return false;
    if (broken++ > 0) return false;
    reply.status = 503;
    return true;
  });
  absl::Status status = Get(3);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(transfer_.received, 4 * RangedBlob::kChunk);
  EXPECT_TRUE(Get(3).ok()) << "and goes on there";
  EXPECT_TRUE(got_ == bytes_);
}

TEST_F(RangedBlobTest, AnotherRangeThanAskedForIsDataLoss) {
  Serve([&](const Request&, Reply& reply) {
    reply = {.status = 206, .headers = {absl::StrCat("Content-Range: bytes 5-9/", kSize)}, .body = "12345"};
    return true;
  });
  EXPECT_TRUE(absl::IsDataLoss(Get(2)));
  EXPECT_THAT(got_, IsEmpty());
}

TEST_F(RangedBlobTest, AnErrorOfTheSinkAndAStopEndIt) {
  Serve();
  sink_status_ = absl::ResourceExhaustedError("the disk is full");
  EXPECT_TRUE(absl::IsResourceExhausted(Get(3)));
  EXPECT_EQ(transfer_.received, 0u);
  sink_status_ = absl::OkStatus();
  EXPECT_TRUE(absl::IsCancelled(Get(3, [] { return true; })));
}

TEST_F(RangedBlobTest, SmallBlobsAndBusyTimesHaveOneConnection) {
  Serve();
  std::vector<TransferSlots::Slot> taken;
  while (TransferSlots::Slot slot = slots_.TryTake()) taken.push_back(std::move(slot));
  EXPECT_TRUE(Get(4).ok());
  EXPECT_THAT(Ranges(), IsEmpty()) << "no slot was free";
  taken.clear();
  transfer_.received = 0;
  EXPECT_TRUE(Get(1).ok());
  EXPECT_THAT(Ranges(), IsEmpty()) << "one connection was asked for";
  transfer_.received = 0;
  EXPECT_TRUE(Get(2).ok());
  EXPECT_THAT(Ranges(), Not(IsEmpty()));
}

}  // namespace
}  // namespace berth::image
