// Pulls from registries that fail, lie or attack.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/strings/escaping.h"
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
using ::testing::Not;
using ::testing::StartsWith;
using namespace testing_store;  // NOLINT: the names of this test's world

class PullFaults : public StoreFixture {};

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

TEST_F(PullFaults, RedirectsElsewhereGetNoSecrets) {
  FaultServer storage(Serving(Big()));
  FaultServer server(Serving(Big(), [&](const Request& request, Reply& reply) {
    if (request.headers.count("authorization") == 0) {
      reply = {.status = 401, .headers = {"WWW-Authenticate: Basic realm=\"x\""}};
      return true;
    }
    if (!IsLayer(request)) return false;
    reply = {.status = 307, .headers = {absl::StrCat("Location: http://", storage.host(), request.target)}};
    return true;
  }));
  auto image = Pull(server, {.username = "me", .password = "secret"});
  ASSERT_TRUE(image.ok()) << image.status();
  ASSERT_EQ(storage.requests().size(), 1u);
  EXPECT_EQ(storage.requests()[0].headers.count("authorization"), 0u);
}

TEST_F(PullFaults, ARedirectTargetGetsNoSecretsByAsking) {
  FaultServer evil(
      [](const Request&) { return Reply{.status = 401, .headers = {"WWW-Authenticate: Basic realm=\"give me\""}}; });
  FaultServer server(Serving(Big(), [&](const Request& request, Reply& reply) {
    if (!IsLayer(request)) return false;
    reply = {.status = 302, .headers = {absl::StrCat("Location: http://", evil.host(), "/")}};
    return true;
  }));
  absl::Status status = Pull(server, {.username = "me", .password = "secret"}).status();
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  for (const Request& request : evil.requests()) EXPECT_EQ(request.headers.count("authorization"), 0u);
}

TEST_F(PullFaults, CirclesOfRedirectsEnd) {
  FaultServer server([](const Request&) { return Reply{.status = 302, .headers = {"Location: /again"}}; });
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("redirects more than 10 times"));
  EXPECT_EQ(server.requests().size(), 11u) << "and are not walked again";
}

// A token service and a registry that wants its tokens, in one.
struct TokenWorld {
  std::atomic<int> issued{0};
  std::string token_body = R"({"token":"tok-1","expires_in":300})";
  std::unique_ptr<FaultServer> service, registry;

  TokenWorld() {
    service = std::make_unique<FaultServer>([this](const Request&) {
      ++issued;
      return Reply{.body = token_body};
    });
    registry = std::make_unique<FaultServer>(Serving(Big(), [this](const Request& request, Reply& reply) {
      auto authorization = request.headers.find("authorization");
      if (authorization != request.headers.end() && authorization->second == "Bearer tok-1") return false;
      reply = {.status = 401,
               .headers = {absl::StrCat("WWW-Authenticate: Bearer realm=\"http://", service->host(),
                                        "/token\",service=\"reg\",scope=\"repository:app:pull\"")}};
      return true;
    }));
  }
};

TEST_F(PullFaults, AnonymousTokensAreKept) {
  TokenWorld world;
  ASSERT_TRUE(Pull(*world.registry).ok());
  ASSERT_TRUE(store_->Remove(world.registry->host() + "/app:v1").ok());
  ASSERT_TRUE(Pull(*world.registry).ok());
  EXPECT_EQ(world.issued.load(), 1);
  Request asked = world.service->requests()[0];
  EXPECT_EQ(asked.target, "/token?service=reg&scope=repository%3Aapp%3Apull");
  EXPECT_EQ(asked.headers.count("authorization"), 0u);
}

TEST_F(PullFaults, AServiceWithoutRefreshTokensIsAskedWithThePassword) {
  std::atomic<int> posts{0};
  TokenWorld world;
  world.service = std::make_unique<FaultServer>([&](const Request& request) {
    if (request.method == "POST") return ++posts, Reply{.status = 405};
    return Reply{.body = R"({"token":"tok-1"})"};
  });
  Credentials both{.username = "me", .password = "pw", .identity_token = "refresh"};
  auto image = Pull(*world.registry, both);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(posts.load(), 1);
  EXPECT_EQ(world.service->requests()[1].headers.at("authorization"), "Basic " + absl::Base64Escape("me:pw"));
  absl::Status without =
      store_->Pull({.reference = world.registry->host() + "/app:v2", .credentials = {.identity_token = "refresh"}})
          .status();
  EXPECT_TRUE(absl::IsUnauthenticated(without)) << without;
}

TEST_F(PullFaults, ScopesOfTheChallengeAndTheRepositorys) {
  FaultServer service([](const Request&) { return Reply{.body = R"({"token":"tok-1"})"}; });
  FaultServer server(Serving(Big(), [&](const Request& request, Reply& reply) {
    if (request.headers.count("authorization")) return false;
    reply = {.status = 401,
             .headers = {absl::StrCat("WWW-Authenticate: Bearer realm=\"http://", service.host(),
                                      "/t?x=y\",service=\"reg\",scope=\"registry:catalog:* other:a:b\"")}};
    return true;
  }));
  ASSERT_TRUE(Pull(server).ok());
  EXPECT_EQ(service.requests()[0].target,
            "/t?x=y&service=reg&scope=registry%3Acatalog%3A%2A&scope=other%3Aa%3Ab&scope=repository%3Aapp%3Apull");
}

TEST_F(PullFaults, ATokenThatDoesNotSufficeIsExchangedOnce) {
  std::atomic<int> issued{0};
  FaultServer service(
      [&](const Request&) { return Reply{.body = absl::StrCat("{\"token\":\"tok-", ++issued, "\"}")}; });
  std::string enough = "Bearer tok-2";
  FaultServer server(Serving(Big(), [&](const Request& request, Reply& reply) {
    auto sent = request.headers.find("authorization");
    if (sent != request.headers.end() && sent->second == enough) return false;
    bool first = sent == request.headers.end();
    reply = {.status = first ? 401 : 403,
             .headers = {absl::StrCat("WWW-Authenticate: Bearer realm=\"http://", service.host(), "/t\",scope=\"",
                                      first ? "repository:app:pull" : "repository:app:pull,more",
                                      first ? "\"" : "\",error=\"insufficient_scope\"")}};
    return true;
  }));
  auto image = Pull(server);
  EXPECT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(issued.load(), 2);
  enough = "none";
  absl::Status status = Pull(server).status();
  EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
  EXPECT_LE(issued.load(), 4);
}

TEST_F(PullFaults, CredentialsOfAnotherRegistryAreNotUsed) {
  FaultServer server(Serving(Big(), [](const Request& request, Reply& reply) {
    if (request.headers.count("authorization")) return false;
    reply = {.status = 401, .headers = {"WWW-Authenticate: Basic realm=\"x\""}};
    return true;
  }));
  Credentials credentials{.username = "me", .password = "secret", .server_address = "https://index.docker.io/v1/"};
  absl::Status status = Pull(server, credentials).status();
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  for (const Request& request : server.requests()) EXPECT_EQ(request.headers.count("authorization"), 0u);
  credentials.server_address = absl::StrCat("http://", server.host(), "/v2/");
  EXPECT_TRUE(Pull(server, credentials).ok());
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

TEST_F(PullFaults, TokensOfOneUserAreNotForAnother) {
  TokenWorld world;
  ASSERT_TRUE(Pull(*world.registry).ok());
  ASSERT_TRUE(Pull(*world.registry, {.username = "me", .password = "pw"}).ok());
  EXPECT_EQ(world.issued.load(), 2);
  Request asked = world.service->requests()[1];
  EXPECT_EQ(asked.headers.at("authorization"), "Basic " + absl::Base64Escape("me:pw"));
  EXPECT_THAT(asked.target, HasSubstr("account=me"));
}

TEST_F(PullFaults, AnIdentityTokenIsExchanged) {
  TokenWorld world;
  world.token_body = R"({"access_token":"tok-1"})";
  auto image = Pull(*world.registry, {.identity_token = "refresh/me"});
  ASSERT_TRUE(image.ok()) << image.status();
  Request asked = world.service->requests()[0];
  EXPECT_EQ(asked.method, "POST");
  EXPECT_THAT(asked.body, HasSubstr("grant_type=refresh_token"));
  EXPECT_THAT(asked.body, HasSubstr("refresh_token=refresh%2Fme"));
}

TEST_F(PullFaults, ARegistryTokenIsSentAsItIs) {
  TokenWorld world;
  auto image = Pull(*world.registry, {.registry_token = "tok-1"});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(world.issued.load(), 0);
}

TEST_F(PullFaults, ARefusedTokenEndsTheTrying) {
  TokenWorld world;
  world.token_body = R"({"token":"tok-2-secret"})";
  absl::Status status = Pull(*world.registry).status();
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("tok-2-secret")));
  EXPECT_LE(world.issued.load(), 3);
}

TEST_F(PullFaults, ForbiddenIsPermissionDenied) {
  FaultServer server([](const Request&) { return Reply{.status = 403}; });
  EXPECT_TRUE(absl::IsPermissionDenied(Pull(server).status()));
}

TEST_F(PullFaults, CredentialsDoNotTravelInTheClear) {
  FaultServer server(Serving(Big()));
  // The test's server behind a name that is not this machine by its looks: nothing may even be asked of the network.
  WriteHosts("registry.invalid", "server = \"http://registry.invalid\"\n");
  absl::Status status =
      store_->Pull({.reference = "registry.invalid/app", .credentials = {.registry_token = "tok"}}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
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
    if (absl::StrContains(request.target, image.layers[0])) reply.delay_ms = 1500;
    if (!absl::StrContains(request.target, image.layers[1])) return false;
    reply.body = std::string(image.blobs.at(image.layers[1]).size(), 'x');
    return true;
  }));
  absl::Status status = Pull(server).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(image.layers[1])) << "not what the others ended with";
  ExpectNothingLeft();
}

}  // namespace
}  // namespace berth::image
