// Whom a pull tells which secret: registries that want a password or a token, and those that only say so.
#include <atomic>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "image/pull/testing_store.h"

namespace berth::image {
namespace {

using namespace testing_store;  // NOLINT: the names of this test's world
using ::testing::HasSubstr;
using ::testing::Not;

class PullSecrets : public StoreFixture {};

TEST_F(PullSecrets, RedirectsElsewhereGetNoSecrets) {
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

TEST_F(PullSecrets, ARedirectTargetGetsNoSecretsByAsking) {
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

TEST_F(PullSecrets, AnonymousTokensAreKept) {
  TokenWorld world;
  ASSERT_TRUE(Pull(*world.registry).ok());
  ASSERT_TRUE(store_->Remove(world.registry->host() + "/app:v1").ok());
  ASSERT_TRUE(Pull(*world.registry).ok());
  EXPECT_EQ(world.issued.load(), 1);
  Request asked = world.service->requests()[0];
  EXPECT_EQ(asked.target, "/token?service=reg&scope=repository%3Aapp%3Apull");
  EXPECT_EQ(asked.headers.count("authorization"), 0u);
}

TEST_F(PullSecrets, AServiceWithoutRefreshTokensIsAskedWithThePassword) {
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

TEST_F(PullSecrets, ScopesOfTheChallengeAndTheRepositorys) {
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

TEST_F(PullSecrets, ATokenThatDoesNotSufficeIsExchangedOnce) {
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

TEST_F(PullSecrets, CredentialsOfAnotherRegistryAreNotUsed) {
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

TEST_F(PullSecrets, TokensOfOneUserAreNotForAnother) {
  TokenWorld world;
  ASSERT_TRUE(Pull(*world.registry).ok());
  ASSERT_TRUE(Pull(*world.registry, {.username = "me", .password = "pw"}).ok());
  EXPECT_EQ(world.issued.load(), 2);
  Request asked = world.service->requests()[1];
  EXPECT_EQ(asked.headers.at("authorization"), "Basic " + absl::Base64Escape("me:pw"));
  EXPECT_THAT(asked.target, HasSubstr("account=me"));
}

TEST_F(PullSecrets, AnIdentityTokenIsExchanged) {
  TokenWorld world;
  world.token_body = R"({"access_token":"tok-1"})";
  auto image = Pull(*world.registry, {.identity_token = "refresh/me"});
  ASSERT_TRUE(image.ok()) << image.status();
  Request asked = world.service->requests()[0];
  EXPECT_EQ(asked.method, "POST");
  EXPECT_THAT(asked.body, HasSubstr("grant_type=refresh_token"));
  EXPECT_THAT(asked.body, HasSubstr("refresh_token=refresh%2Fme"));
}

TEST_F(PullSecrets, ARegistryTokenIsSentAsItIs) {
  TokenWorld world;
  auto image = Pull(*world.registry, {.registry_token = "tok-1"});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(world.issued.load(), 0);
}

TEST_F(PullSecrets, ARefusedTokenEndsTheTrying) {
  TokenWorld world;
  world.token_body = R"({"token":"tok-2-secret"})";
  absl::Status status = Pull(*world.registry).status();
  EXPECT_TRUE(absl::IsUnauthenticated(status)) << status;
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("tok-2-secret")));
  EXPECT_LE(world.issued.load(), 3);
}

TEST_F(PullSecrets, ForbiddenIsPermissionDenied) {
  FaultServer server([](const Request&) { return Reply{.status = 403}; });
  EXPECT_TRUE(absl::IsPermissionDenied(Pull(server).status()));
}

TEST_F(PullSecrets, CredentialsDoNotTravelInTheClear) {
  FaultServer server(Serving(Big()));
  // The test's server behind a name that is not this machine by its looks: nothing may even be asked of the network.
  WriteHosts("registry.invalid", "server = \"http://registry.invalid\"\n");
  absl::Status status =
      store_->Pull({.reference = "registry.invalid/app", .credentials = {.registry_token = "tok"}}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

}  // namespace
}  // namespace berth::image
