// Pulls from registries that fail, lie or attack.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "image/content/digest.h"
#include "image/pull/testing_store.h"
#include "runtime/base/json.h"

namespace berth::image {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using namespace testing_store;  // NOLINT: the names of this test's world

class PullFaults : public StoreFixture {};

// An OCI artifact of one file.
const TestImage& Artifact() {
  static const auto* artifact = [] {
    auto* out = new TestImage;
    std::string file = testing_image::Noise(1 << 20, 8);
    out->layers = {Sha256Digest(file)};
    Json layer{{"mediaType", "application/octet-stream"},
               {"digest", out->layers[0]},
               {"size", file.size()},
               {"annotations", {{"org.opencontainers.image.title", "model.bin"}}}};
    Json config{{"mediaType", "application/vnd.oci.empty.v1+json"}, {"digest", Sha256Digest("{}")}, {"size", 2}};
    out->manifest = DumpJson(Json{{"schemaVersion", 2},
                                  {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                                  {"config", config},
                                  {"layers", {layer}}});
    out->manifest_digest = Sha256Digest(out->manifest);
    out->blobs = {{out->layers[0], std::move(file)}};
    return out;
  }();
  return *artifact;
}

TEST_F(PullFaults, TooManyRequestsIsRetriedWhenTheServerSays) {
  std::atomic<int> refused{0};
  FaultServer server(Serving(Big(), [&](const Request& request, Reply& reply) {
    if (!absl::StrContains(request.target, "/manifests/") || refused++ > 0) return false;
    reply = {.status = 429, .headers = {"Retry-After: 1"}};
    return true;
  }));
  absl::Time begin = absl::Now();
  auto image = Pull(server);
  EXPECT_TRUE(image.ok()) << image.status();
  EXPECT_GE(absl::Now() - begin, absl::Seconds(1));
}

TEST_F(PullFaults, AServerThatAsksForTooLongIsGivenUp) {
  FaultServer server([](const Request&) { return Reply{.status = 503, .headers = {"Retry-After: 3600"}}; });
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(PullFaults, AFailingServerIsTriedAFewTimes) {
  FaultServer server([](const Request&) { return Reply{.status = 500}; });
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), StartsWith("RegistryUnavailable: "));
  EXPECT_EQ(server.requests().size(), 5u);
}

TEST_F(PullFaults, ABrokenConnectionGoesOnWhereItBroke) {
  std::atomic<int> cuts{0};
  auto serve = Serving(Big());
  auto handler = [&](const Request& request) {
    Reply reply = serve(request);
    if (IsLayer(request) && cuts++ < 2) reply.cut_after = 400'000;
    return reply;
  };
  FaultServer cutting(handler);
  auto image = Pull(cutting);
  ASSERT_TRUE(image.ok()) << image.status();
  std::vector<std::string> ranges;
  for (const Request& request : cutting.requests()) {
    if (IsLayer(request)) ranges.push_back(request.headers.count("range") ? request.headers.at("range") : "");
  }
  EXPECT_THAT(ranges, ::testing::ElementsAre("", "bytes=400000-", "bytes=800000-"));
}

TEST_F(PullFaults, AServerWithoutRangeStartsAnewAndTheSinkDoesNot) {
  std::atomic<int> cuts{0};
  auto serve = Serving(Big());
  FaultServer server([&](const Request& request) {
    Request plain = request;
    plain.headers.erase("range");
    Reply reply = serve(plain);
    if (IsLayer(request) && cuts++ < 1) reply.cut_after = 400'000;
    return reply;
  });
  auto image = Pull(server);
  EXPECT_TRUE(image.ok()) << image.status();
}

TEST_F(PullFaults, ARangeThatWasNotAskedForIsRefused) {
  std::atomic<int> cuts{0};
  auto serve = Serving(Big());
  FaultServer server([&](const Request& request) {
    Request other = request;
    if (other.headers.count("range")) other.headers["range"] = "bytes=5-";
    Reply reply = serve(other);
    if (IsLayer(request) && cuts++ < 1) reply.cut_after = 400'000;
    return reply;
  });
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  ExpectNothingLeft();
}

TEST_F(PullFaults, AWrongLayerIsDataLoss) {
  FaultServer server(Serving(Big(), [](const Request& request, Reply& reply) {
    if (!IsLayer(request)) return false;
    reply.body = Big().blobs.at(Big().layers[0]);
    reply.body[500'000] = static_cast<char>(~reply.body[500'000]);
    return true;
  }));
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(Big().layers[0]));
  ExpectNothingLeft();
}

TEST_F(PullFaults, ATruncatedLayerIsDataLoss) {
  FaultServer server(Serving(Big(), [](const Request& request, Reply& reply) {
    if (!IsLayer(request)) return false;
    reply.body = Big().blobs.at(Big().layers[0]).substr(0, 500'000);
    return true;
  }));
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  ExpectNothingLeft();
}

TEST_F(PullFaults, MoreBytesThanPromisedAreDataLoss) {
  for (bool announced : {true, false}) {
    FaultServer server(Serving(Big(), [&](const Request& request, Reply& reply) {
      if (!IsLayer(request)) return false;
      reply.body = Big().blobs.at(Big().layers[0]) + std::string(1000, 'x');
      reply.announce = announced;
      return true;
    }));
    absl::Status status = Pull(server).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  }
  ExpectNothingLeft();
}

TEST_F(PullFaults, AConfigOfAnotherDigestOrSizeIsDataLoss) {
  for (const char* tail : {" ", ""}) {
    FaultServer server(Serving(Big(), [&](const Request& request, Reply& reply) {
      if (!absl::StrContains(request.target, Big().config_digest)) return false;
      reply.body = Big().blobs.at(Big().config_digest) + tail;
      reply.body[0] = ' ';
      return true;
    }));
    absl::Status status = Pull(server).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  }
  ExpectNothingLeft();
}

TEST_F(PullFaults, AManifestOfAnotherDigestIsDataLoss) {
  FaultServer server(Serving(Big(), [](const Request& request, Reply& reply) {
    if (!absl::StrContains(request.target, "/manifests/")) return false;
    reply.headers = {"Docker-Content-Digest: " + Big().manifest_digest};
    reply.body = Big().manifest + " ";
    return true;
  }));
  EXPECT_TRUE(absl::IsDataLoss(Pull(server).status()));
  absl::Status by_digest = store_->Pull({.reference = server.host() + "/app@" + Big().manifest_digest}).status();
  EXPECT_TRUE(absl::IsDataLoss(by_digest)) << by_digest;
}

TEST_F(PullFaults, AnEndlessManifestIsRefused) {
  FaultServer server([](const Request&) { return Reply{.body = std::string(5 << 20, ' ')}; });
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(PullFaults, AForgedDiffIdIsDataLoss) {
  TestImage image = MakeImage({{{"data", "honest"}}});
  std::string victim = "sha256:" + std::string(64, 'e');
  std::string config = absl::StrReplaceAll(image.blobs.at(image.config_digest), {{image.diff_ids[0], victim}});
  std::string digest = Sha256Digest(config);
  image.manifest = absl::StrReplaceAll(image.manifest, {{image.config_digest, digest}});
  image.manifest_digest = Sha256Digest(image.manifest);
  image.blobs[digest] = config;
  FaultServer server(Serving(image));
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  ExpectNothingLeft();
}

TEST_F(PullFaults, CirclesOfRedirectsEnd) {
  FaultServer server([](const Request&) { return Reply{.status = 302, .headers = {"Location: /again"}}; });
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("redirects more than 10 times"));
  EXPECT_EQ(server.requests().size(), 11u) << "and are not walked again";
}

TEST_F(PullFaults, AConnectionThatStandsStillIsGivenUpAndGoesOn) {
  Open({.progress_timeout = absl::Seconds(1)});
  std::atomic<int> stalls{0};
  auto serve = Serving(Big());
  // Some bytes each 100 ms, too few: one that means to keep us busy. The rest of the first answer never comes.
  FaultServer server([&](const Request& request) {
    Reply reply = serve(request);
    if (IsLayer(request) && stalls++ == 0) reply.piece = 20;
    return reply;
  });
  absl::Time begin = absl::Now();
  auto image = Pull(server);
  EXPECT_TRUE(image.ok()) << image.status();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(30));
  EXPECT_EQ(stalls.load(), 2);
}

TEST_F(PullFaults, ASlowButSteadyConnectionIsNot) {
  Open({.progress_timeout = absl::Seconds(1)});
  TestImage image = MakeImage({{{"data", testing_image::Noise(60'000, 8)}}});
  auto serve = Serving(image);
  FaultServer server([&](const Request& request) {
    Reply reply = serve(request);
    if (IsLayer(request, image)) reply.piece = 3000;  // two seconds in all
    return reply;
  });
  ASSERT_TRUE(Pull(server).ok());
  int asked = 0;
  for (const Request& request : server.requests()) asked += IsLayer(request, image);
  EXPECT_EQ(asked, 1);
}

TEST_F(PullFaults, EndlessAnswersEnd) {
  FaultServer body(Serving(Big(), [](const Request& request, Reply& reply) {
    if (!IsLayer(request)) return false;
    reply = {.body = Big().blobs.at(Big().layers[0]), .announce = false, .endless_body = true};
    return true;
  }));
  absl::Status status = Pull(body).status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
  FaultServer headers([](const Request&) { return Reply{.endless_headers = true}; });
  status = Pull(headers).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  FaultServer refusal([](const Request&) {
    return Reply{.status = 404, .body = std::string(100'000, 'x'), .announce = false, .endless_body = true};
  });
  EXPECT_TRUE(absl::IsNotFound(Pull(refusal).status()));
  ExpectNothingLeft();
}

TEST_F(PullFaults, MirrorsComeFirstAndTheRegistryLast) {
  FaultServer broken([](const Request&) { return Reply{.status = 404}; });
  FaultServer mirror(Serving(Big()));
  FaultServer server(Serving(Big()));
  WriteHosts(server.host(), absl::StrCat("server = \"http://", server.host(), "\"\n[host.\"http://", broken.host(),
                                         "\"]\n[host.\"http://", mirror.host(), "\"]\n"));
  auto image = Pull(server, {.username = "me", .password = "secret", .registry_token = "tok"});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_THAT(server.requests(), IsEmpty());
  ASSERT_FALSE(mirror.requests().empty());
  for (const Request& request : mirror.requests()) {
    EXPECT_THAT(request.target, HasSubstr(absl::StrCat("?ns=127.0.0.1%3A", server.port())));
    EXPECT_EQ(request.headers.count("authorization"), 0u) << "credentials are the registry's, not the mirror's";
  }
}

TEST_F(PullFaults, ALyingMirrorIsPassedOver) {
  FaultServer mirror(Serving(Big(), [](const Request& request, Reply& reply) {
    if (!IsLayer(request)) return false;
    reply.body = std::string(Big().blobs.at(Big().layers[0]).size(), 'x');
    return true;
  }));
  FaultServer server(Serving(Big()));
  WriteHosts(server.host(),
             absl::StrCat("server = \"http://", server.host(), "\"\n[host.\"http://", mirror.host(), "\"]\n"));
  auto image = Pull(server);
  EXPECT_TRUE(image.ok()) << image.status();
}

// Files of artifacts are checked by other code than layers are.
TEST_F(PullFaults, AnArtifactsWrongFileIsDataLoss) {
  for (size_t size : {size_t{1} << 20, (size_t{1} << 20) - 1, (size_t{1} << 20) + 1}) {
    FaultServer server(Serving(Artifact(), [&](const Request& request, Reply& reply) {
      if (!IsLayer(request, Artifact())) return false;
      reply.body = std::string(size, 'x');
      return true;
    }));
    absl::Status status = Pull(server).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << size << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(Artifact().layers[0]));
    ExpectNothingLeft();
  }
}

TEST_F(PullFaults, AnArtifactFromALyingMirrorAndABrokenServer) {
  FaultServer mirror(Serving(Artifact(), [](const Request& request, Reply& reply) {
    if (!IsLayer(request, Artifact())) return false;
    reply.body = std::string(size_t{1} << 20, 'x');
    return true;
  }));
  std::atomic<bool> broke{false};
  FaultServer server(Serving(Artifact(), [&](const Request& request, Reply& reply) {
    if (!IsLayer(request, Artifact()) || broke.exchange(true)) return false;
    reply.body = Artifact().blobs.at(Artifact().layers[0]);
    reply.cut_after = 600'000;
    return true;
  }));
  WriteHosts(server.host(),
             absl::StrCat("server = \"http://", server.host(), "\"\n[host.\"http://", mirror.host(), "\"]\n"));
  auto image = Pull(server);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->id.str(), Artifact().manifest_digest);
  EXPECT_EQ(image->config.artifact_type, "application/vnd.oci.empty.v1+json");
  EXPECT_EQ(image->layers.size(), 1u);
}

// Its config is of berth's making, and in no document that a registry has.
TEST_F(PullFaults, AnArtifactSurvivesReopening) {
  FaultServer server(Serving(Artifact(), [](const Request&, Reply&) { return false; }));
  auto image = Pull(server);
  ASSERT_TRUE(image.ok()) << image.status();
  Open({});
  auto found = store_->Find(image->id.str());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->config.artifact_type, image->config.artifact_type);
  EXPECT_EQ(found->layers, image->layers);
  EXPECT_EQ(found->repo_tags, image->repo_tags);
  EXPECT_TRUE(store_->CreateSnapshot(ContainerId("c"), image->id, {}).ok());
}

TEST_F(PullFaults, CancellationLeavesNothing) {
  FaultServer server(Serving(Big(), [](const Request& request, Reply& reply) {
    if (IsLayer(request)) reply.delay_ms = 20'000;
    return false;
  }));
  absl::Time begin = absl::Now();
  absl::Status status = store_
                            ->Pull({.reference = server.host() + "/app:v1",
                                    .cancelled = [&] { return absl::Now() - begin > absl::Milliseconds(300); }})
                            .status();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_LT(absl::Now() - begin, absl::Seconds(3)) << "not when the connection next has something to say";
  ExpectNothingLeft();
}

TEST_F(PullFaults, OneWaiterMayLeaveWithoutTheOthers) {
  FaultServer server(Serving(Big(), [](const Request& request, Reply& reply) {
    if (absl::StrContains(request.target, "/manifests/")) {
      reply = {.headers = {"Content-Type: application/vnd.oci.image.manifest.v1+json"},
               .body = Big().manifest,
               .delay_ms = 700};
      return true;
    }
    return false;
  }));
  std::string name = server.host() + "/app:v1";
  absl::Status left, stayed;
  std::thread first([&] {
    absl::Time begin = absl::Now();
    left = store_->Pull({.reference = name, .cancelled = [&] { return absl::Now() - begin > absl::Milliseconds(200); }})
               .status();
  });
  absl::SleepFor(absl::Milliseconds(100));
  stayed = store_->Pull({.reference = name}).status();
  first.join();
  EXPECT_TRUE(absl::IsCancelled(left)) << left;
  EXPECT_TRUE(stayed.ok()) << stayed;
  int manifests = 0;
  for (const Request& request : server.requests()) manifests += absl::StrContains(request.target, "/manifests/");
  EXPECT_EQ(manifests, 1) << "both were one pull";
}

TEST_F(PullFaults, TheFirstErrorStopsTheOtherLayers) {
  TestImage image = MakeImage({{{"a", testing_image::Noise(3 << 20, 1)}}, {{"b", testing_image::Noise(1 << 20, 2)}}});
  FaultServer server(Serving(image, [&](const Request& request, Reply& reply) {
    if (absl::StrContains(request.target, image.layers[0])) reply.delay_ms = 20'000;
    if (!absl::StrContains(request.target, image.layers[1])) return false;
    reply.body = std::string(image.blobs.at(image.layers[1]).size(), 'x');
    return true;
  }));
  absl::Time begin = absl::Now();
  absl::Status status = Pull(server).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(image.layers[1])) << "not what the others ended with";
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  ExpectNothingLeft();
}

}  // namespace
}  // namespace berth::image
