// Uploads against a registry that fails in told ways.
#include "image/push/blob_upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/pull/testing_image.h"
#include "image/push/layer_push.h"
#include "image/push/testing_upload_registry.h"
#include "image/registry/host_health.h"

namespace berth::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing_image::Noise;
using testing_server::FaultServer;
using testing_server::Reply;
using testing_server::Request;
using testing_upload_registry::UploadRegistry;

constexpr size_t kSmallChunk = 1000;

class BlobUploadTest : public ::testing::Test {
 protected:
  void Start(UploadRegistry::Before before = {}, Credentials credentials = {}) {
    registry_ = std::make_unique<UploadRegistry>(std::move(before));
    Reference reference{.host = registry_->host(), .path = "app", .tag = "v1"};
    Endpoint endpoint{.base = *ParseUrl(absl::StrCat("http://", registry_->host(), "/v2"))};
    RetryPolicy retry{.attempts = 3, .first = absl::Milliseconds(1), .most = absl::Milliseconds(2)};
    auto cancelled = [this] { return cancelled_.load(); };
    session_ = std::make_unique<RegistrySession>(
        endpoint, reference, std::move(credentials),
        RegistrySession::Context{.http = &http_, .tokens = &tokens_, .cancelled = cancelled});
    writer_ = std::make_unique<RepositoryWriter>(session_.get(), retry, cancelled);
  }
  absl::StatusOr<UploadedBlob> Upload(absl::string_view bytes) {
    BlobUpload upload(
        writer_.get(), [this](uint64_t done) { seen_.push_back(done); }, kSmallChunk);
    for (size_t at = 0; at < bytes.size(); at += 300) {
      RETURN_IF_ERROR(upload.Write(bytes.substr(at, 300)));
    }
    return upload.Finish();
  }

  HostHealth health_;
  HttpClient http_{HttpClient::Options(), health_};
  TokenSource tokens_;
  std::atomic<bool> cancelled_{false};
  std::unique_ptr<UploadRegistry> registry_;
  std::unique_ptr<RegistrySession> session_;
  std::unique_ptr<RepositoryWriter> writer_;
  std::vector<uint64_t> seen_;
};

TEST_F(BlobUploadTest, ALargeBlobGoesInChunks) {
  Start();
  std::string bytes = Noise(3500, 1);
  auto blob = Upload(bytes);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->digest, Sha256Digest(bytes));
  EXPECT_EQ(blob->size, 3500u);
  EXPECT_FALSE(blob->already_there);
  EXPECT_EQ(registry_->blobs()[blob->digest], bytes);
  EXPECT_THAT(registry_->Methods(), ElementsAre("POST", "PATCH", "PATCH", "PATCH", "PATCH", "PUT?digest"));
  EXPECT_EQ(registry_->requests()[2].headers.at("content-range"), "1000-1999");
  EXPECT_EQ(registry_->requests()[0].headers.at("content-length"), "0");
  EXPECT_THAT(seen_, ElementsAre(1000, 2000, 3000, 3500, 3500));
}

TEST_F(BlobUploadTest, ADocumentWhoseCloseFailsOnceIsSentAgain) {
  int failures = 0;
  Start([&](const Request& request, Reply& reply) {
    reply.status = 503;
    return request.method == "PUT" && failures++ == 0;
  });
  auto blob = PushBytes(*writer_, "document");
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(registry_->blobs()[blob->digest], "document");
}

TEST_F(BlobUploadTest, WhatFitsOneChunkGoesInOneRequest) {
  Start();
  for (size_t size : {size_t{0}, size_t{1}, kSmallChunk}) {
    std::string bytes = Noise(size, 7);
    auto blob = Upload(bytes);
    ASSERT_TRUE(blob.ok()) << size << ": " << blob.status();
    EXPECT_EQ(registry_->blobs()[blob->digest], bytes);
  }
  EXPECT_THAT(registry_->Methods(), Not(Contains("PATCH")));
}

TEST_F(BlobUploadTest, WhatIsThereIsNotSentAgain) {
  Start();
  ASSERT_TRUE(Upload("hello").ok());
  auto again = Upload("hello");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->already_there);
  EXPECT_THAT(registry_->Methods(), ElementsAre("HEAD", "POST", "PUT?digest", "HEAD"));
}

TEST_F(BlobUploadTest, GoesOnWhereABrokenChunkEnded) {
  int patches = 0;
  Start([&](const Request& request, Reply& reply) {
    if (request.method != "PATCH" || ++patches != 2) return false;
    registry_->TakePart(request, 400);
    reply = {.status = 202, .body = "cut", .cut_after = 0};
    return true;
  });
  std::string bytes = Noise(2500, 2);
  auto blob = Upload(bytes);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(registry_->blobs()[blob->digest], bytes);
  EXPECT_EQ(registry_->requests()[4].headers.at("content-range"), "1400-1999") << "not what had arrived";
  EXPECT_THAT(registry_->Methods(), ElementsAre("POST", "PATCH", "PATCH", "GET", "PATCH", "PATCH", "PUT?digest"));
}

TEST_F(BlobUploadTest, ServerErrorsAreTriedAgainUpToABound) {
  int patches = 0;
  Start([&](const Request& request, Reply& reply) {
    if (request.method != "PATCH" || ++patches > 2) return false;
    reply.status = 503;
    return true;
  });
  EXPECT_TRUE(Upload(Noise(2500, 3)).ok());
  Start([](const Request& request, Reply& reply) {
    reply.status = 503;
    return request.method == "PATCH";
  });
  auto failed = Upload(Noise(2500, 3));
  EXPECT_TRUE(absl::IsUnavailable(failed.status())) << failed.status();
}

TEST_F(BlobUploadTest, ARegistryThatTakesNothingIsGivenUp) {
  Start([](const Request& request, Reply& reply) {
    reply = {.status = 202, .headers = {"Location: " + request.target, "Range: 0-0"}};
    return request.method == "PATCH";
  });
  auto failed = Upload(Noise(2500, 3));
  EXPECT_TRUE(absl::IsUnavailable(failed.status())) << failed.status();
}

TEST_F(BlobUploadTest, ALostUploadIsSaidToBeLost) {
  int patches = 0;
  Start([&](const Request& request, Reply&) {
    if (request.method == "PATCH" && ++patches == 2) registry_->ForgetUploads();
    return false;
  });
  EXPECT_TRUE(absl::IsAborted(Upload(Noise(2500, 4)).status()));
}

TEST_F(BlobUploadTest, ARegistryThatClaimsMoreThanItGotIsNotBelieved) {
  Start([](const Request& request, Reply& reply) {
    reply = {.status = 202, .headers = {"Location: " + request.target, "Range: 0-99999"}};
    return request.method == "PATCH";
  });
  EXPECT_TRUE(absl::IsAborted(Upload(Noise(2500, 4)).status()));
}

TEST_F(BlobUploadTest, LargerChunksOnDemand) {
  Start([](const Request& request, Reply& reply) {
    if (request.method != "POST") return false;
    reply = {.status = 202, .headers = {"Location: /v2/app/blobs/uploads/big", "OCI-Chunk-Min-Length: 2000"}};
    return true;
  });
  registry_->TakePart({.target = "/v2/app/blobs/uploads/big"}, 0);
  std::string bytes = Noise(4500, 5);
  auto blob = Upload(bytes);
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(registry_->blobs()[blob->digest], bytes);
  EXPECT_EQ(registry_->requests()[1].headers.at("content-range"), "0-1999");
}

TEST_F(BlobUploadTest, ACloseThatWasDoneAllTheSameIsDone) {
  std::string bytes = Noise(1500, 6);
  Start([&](const Request& request, Reply& reply) {
    if (request.method == "HEAD") {
      reply = {.headers = {"Content-Length: 1500"}, .announce = false};
      return true;
    }
    reply = {.status = 201, .body = "cut", .cut_after = 0};
    return request.method == "PUT";
  });
  auto blob = Upload(bytes);
  EXPECT_TRUE(blob.ok()) << blob.status();
}

TEST_F(BlobUploadTest, SecretsDoNotFollowAnUploadToAnotherHost) {
  UploadRegistry storage;
  Start({}, {.registry_token = "s3cret"});
  registry_->SendElsewhere(storage.host());
  storage.TakePart({.target = "/v2/app/blobs/uploads/up1"}, 0);
  ASSERT_TRUE(Upload(Noise(2500, 8)).ok());
  EXPECT_EQ(registry_->requests()[0].headers.at("authorization"), "Bearer s3cret");
  ASSERT_FALSE(storage.requests().empty());
  for (const Request& request : storage.requests()) EXPECT_EQ(request.headers.count("authorization"), 0u);
}

TEST_F(BlobUploadTest, CancellationEndsTheUploadAtTheRegistryToo) {
  Start([&](const Request& request, Reply&) {
    if (request.method == "PATCH") cancelled_ = true;
    return false;
  });
  EXPECT_TRUE(absl::IsCancelled(Upload(Noise(2500, 9)).status()));
  EXPECT_EQ(registry_->open_uploads(), 0u);
  EXPECT_THAT(registry_->Methods(), Contains("DELETE"));
}

TEST_F(BlobUploadTest, AWrongDigestSaysWhatTheRegistrySays) {
  Start([&](const Request& request, Reply&) {
    if (request.method == "PUT") registry_->TakePart(request, 1);
    return false;
  });
  auto failed = Upload(Noise(100, 10));
  EXPECT_TRUE(absl::IsInvalidArgument(failed.status())) << failed.status();
  EXPECT_THAT(std::string(failed.status().message()), HasSubstr("DIGEST_INVALID: not that digest"));
  EXPECT_EQ(registry_->open_uploads(), 0u);
}

TEST_F(BlobUploadTest, RefusalsHaveTheirCodes) {
  for (auto [status, code] : {std::pair(401, absl::StatusCode::kUnauthenticated),
                              {403, absl::StatusCode::kPermissionDenied},
                              {404, absl::StatusCode::kNotFound},
                              {405, absl::StatusCode::kFailedPrecondition},
                              {413, absl::StatusCode::kResourceExhausted},
                              {400, absl::StatusCode::kInvalidArgument},
                              {302, absl::StatusCode::kFailedPrecondition},
                              {500, absl::StatusCode::kUnavailable}}) {
    Start([status = status](const Request& request, Reply& reply) {
      reply.status = status;
      return request.method == "POST";
    });
    EXPECT_EQ(Upload("x").status().code(), code) << status;
  }
  Start([](const Request& request, Reply& reply) {
    reply = {.status = 401, .headers = {R"(WWW-Authenticate: Bearer realm="x",error="insufficient_scope")"}};
    return request.method == "POST";
  });
  EXPECT_FALSE(Upload("x").ok());
}

TEST_F(BlobUploadTest, MountTakesABlobOrLeavesNothing) {
  Start();
  ASSERT_TRUE(Upload("hello").ok());
  auto mounted = writer_->Mount(Sha256Digest("hello"), "other/repo");
  ASSERT_TRUE(mounted.ok()) << mounted.status();
  EXPECT_TRUE(*mounted);
  auto refused = writer_->Mount(Sha256Digest("absent"), "other/repo");
  ASSERT_TRUE(refused.ok()) << refused.status();
  EXPECT_FALSE(*refused);
  EXPECT_EQ(registry_->open_uploads(), 0u);
}

}  // namespace
}  // namespace berth::image
