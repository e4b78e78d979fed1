// Pulls from registries that fail, lie or attack.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "image/content/digest.h"
#include "image/pull/testing_image.h"
#include "image/pull/testing_server.h"
#include "image/store.h"
#include "runtime/base/json.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;
using testing_image::MakeImage;
using testing_image::TestImage;
using testing_server::FaultServer;
using testing_server::Reply;
using testing_server::Request;
using testing_server::Serving;

// One layer of 1 MiB that does not compress.
const TestImage& Big() {
  static const auto* image = new TestImage(MakeImage({{{"data", testing_image::Noise(1 << 20, 7)}}}));
  return *image;
}

bool IsLayer(const Request& request, const TestImage& image = Big()) {
  return absl::StrContains(request.target, image.layers[0]);
}

class PullFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "layers are unpacked with their owners: needs root";
    dir_ = absl::StrCat(::testing::TempDir(), "berth-faults-", getpid(), "-", RandomHexId().substr(0, 8));
    auto store = Store::Open({.root = dir_ + "/store", .hosts_dirs = {dir_ + "/certs.d"}});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  void TearDown() override {
    store_.reset();
    if (!dir_.empty()) sys::RemoveTreeAt(AT_FDCWD, dir_).IgnoreError();
  }
  absl::StatusOr<Image> Pull(const FaultServer& server, const Credentials& credentials = {}) {
    return store_->Pull({.reference = server.host() + "/app:v1", .credentials = credentials});
  }
  void WriteHosts(const std::string& host, const std::string& text) {
    std::string path = absl::StrCat(dir_, "/certs.d/", host);
    ASSERT_TRUE(sys::MakeDirs(path, 0755).ok());
    auto fd = sys::Open(path, O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(fd.ok() && sys::ReplaceFileAt(fd->get(), "hosts.toml", text, 0644).ok());
  }
  // What an interrupted or failed pull must leave: no image, and nothing that is half done.
  void ExpectNothingLeft() {
    EXPECT_THAT(store_->List(), IsEmpty());
    EXPECT_THAT(Entries("/store/content"), IsEmpty());
    for (const std::string& entry : Entries("/store/layers")) {  // staging and trash stay, empty
      EXPECT_THAT(Entries("/store/layers/" + entry), IsEmpty());
    }
  }
  std::vector<std::string> Entries(const std::string& path) {
    auto fd = sys::Open(dir_ + path, O_RDONLY | O_DIRECTORY);
    if (!fd.ok()) return {fd.status().ToString()};
    auto names = sys::ListDir(fd->get());
    return names.ok() ? *names : std::vector<std::string>{names.status().ToString()};
  }

  std::string dir_;
  std::unique_ptr<Store> store_;
};

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
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("redirects more than 10 times"));
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
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
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
