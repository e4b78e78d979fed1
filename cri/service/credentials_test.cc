#include "cri/service/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::service {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

::runtime::v1::AuthConfig Auth(const std::string& server) {
  ::runtime::v1::AuthConfig auth;
  auth.set_username("bob");
  auth.set_password("s3cret");
  auth.set_server_address(server);
  return auth;
}

TEST(Credentials, GoToTheServerTheyAreFor) {
  for (const char* server : {"", "quay.io", "https://quay.io", "http://QUAY.io/v2/", "quay.io/org"}) {
    EXPECT_EQ(ToCredentials(Auth(server), "quay.io/org/app:1")->username, "bob") << server;
  }
  for (const char* server : {"docker.io", "https://index.docker.io/v1/", "registry-1.docker.io"}) {
    EXPECT_EQ(ToCredentials(Auth(server), "busybox")->username, "bob") << server;
  }
  for (const char* server : {"quay.io.evil.example", "quay.io:5000", "other", "https://"}) {
    EXPECT_EQ(ToCredentials(Auth(server), "quay.io/org/app:1")->username, "") << server;
    EXPECT_EQ(ToCredentials(Auth(server), "quay.io/org/app:1")->password, "") << server;
  }
}

TEST(Credentials, AuthIsUserAndPassword) {
  ::runtime::v1::AuthConfig auth;
  auth.set_auth("Ym9iOnMzOmNyZXQAAAA=");  // bob:s3:cret and NULs
  auto credentials = ToCredentials(auth, "x");
  ASSERT_TRUE(credentials.ok());
  EXPECT_EQ(credentials->username, "bob");
  EXPECT_EQ(credentials->password, "s3:cret");
  for (const char* bad : {"%%%", "Ym9i"}) {
    auth.set_auth(bad);
    absl::Status status = ToCredentials(auth, "x").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("auth.auth"));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("bob")));
  }
}

TEST(Credentials, TheFirstOfTheThreeForms) {
  ::berth::v1::RegistryAuth auth;
  auth.set_username("bob");
  auth.set_password("s3cret");
  EXPECT_EQ(ToCredentials(auth, "x").password, "s3cret");
  auth.set_identity_token("refresh");
  EXPECT_EQ(ToCredentials(auth, "x").identity_token, "refresh");
  EXPECT_EQ(ToCredentials(auth, "x").username, "");
  auth.set_registry_token("bearer");
  EXPECT_EQ(ToCredentials(auth, "x").registry_token, "bearer");
  EXPECT_EQ(ToCredentials(auth, "x").identity_token, "");
  auth.set_server_address("elsewhere");
  EXPECT_EQ(ToCredentials(auth, "x").registry_token, "");
}

}  // namespace
}  // namespace berth::service
