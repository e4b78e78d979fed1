#include "cri/service/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::service {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Credentials, SayWhichServerTheyAreFor) {
  ::runtime::v1::AuthConfig auth;
  auth.set_username("bob");
  auth.set_server_address("https://quay.io");
  EXPECT_EQ(ToCredentials(auth)->username, "bob");
  EXPECT_EQ(ToCredentials(auth)->server_address, "https://quay.io");
}

TEST(Credentials, AuthIsUserAndPassword) {
  ::runtime::v1::AuthConfig auth;
  auth.set_auth("Ym9iOnMzOmNyZXQAAAA=");  // bob:s3:cret and NULs
  auto credentials = ToCredentials(auth);
  ASSERT_TRUE(credentials.ok());
  EXPECT_EQ(credentials->username, "bob");
  EXPECT_EQ(credentials->password, "s3:cret");
  for (const char* bad : {"%%%", "Ym9i"}) {
    auth.set_auth(bad);
    absl::Status status = ToCredentials(auth).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("auth.auth"));
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("bob")));
  }
}

TEST(Credentials, TheFirstOfTheThreeForms) {
  ::berth::v1::RegistryAuth auth;
  auth.set_username("bob");
  auth.set_password("s3cret");
  EXPECT_EQ(ToCredentials(auth).password, "s3cret");
  auth.set_identity_token("refresh");
  EXPECT_EQ(ToCredentials(auth).identity_token, "refresh");
  EXPECT_EQ(ToCredentials(auth).username, "");
  auth.set_registry_token("bearer");
  EXPECT_EQ(ToCredentials(auth).registry_token, "bearer");
  EXPECT_EQ(ToCredentials(auth).identity_token, "");
  auth.set_server_address("elsewhere");
  EXPECT_EQ(ToCredentials(auth).server_address, "elsewhere");
}

}  // namespace
}  // namespace berth::service
