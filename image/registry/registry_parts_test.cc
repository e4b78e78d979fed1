// The pure parts of the client: URLs, waiting times, answers of token services.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/registry/retry.h"
#include "image/registry/token_source.h"
#include "image/registry/url.h"

namespace berth::image {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Url, PartsAndBack) {
  auto url = ParseUrl("HTTPS://Reg.IO:5000/v2/a?x=1#frag");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme, "https");
  EXPECT_EQ(url->host, "reg.io");
  EXPECT_EQ(url->port, 5000);
  EXPECT_EQ(url->ToString(), "https://reg.io:5000/v2/a?x=1");
  EXPECT_EQ(ParseUrl("http://h")->ToString(), "http://h/");
  EXPECT_EQ(ParseUrl("http://h:80/")->Authority(), "h");
  EXPECT_EQ(ParseUrl("http://[::1]:5000/")->Authority(), "[::1]:5000");
}

TEST(Url, SameOriginIsSchemeHostAndPort) {
  Url url = *ParseUrl("https://h/a");
  EXPECT_TRUE(url.SameOrigin(*ParseUrl("https://H:443/b")));
  EXPECT_FALSE(url.SameOrigin(*ParseUrl("http://h:443/a")));
  EXPECT_FALSE(url.SameOrigin(*ParseUrl("https://h:444/a")));
  EXPECT_FALSE(url.SameOrigin(*ParseUrl("https://h.evil/a")));
}

TEST(Url, SecretsGoOnlyWhereNobodyListens) {
  for (auto text : {"https://h/", "http://localhost/", "http://127.1.2.3/", "http://[::1]/"}) {
    EXPECT_TRUE(ParseUrl(text)->IsPrivate()) << text;
  }
  for (auto text : {"http://h/", "http://localhost.h/", "http://10.0.0.1/", "http://[fe80::1]/"}) {
    EXPECT_FALSE(ParseUrl(text)->IsPrivate()) << text;
  }
}

TEST(Url, RefusesWhatIsNotForRegistries) {
  for (auto text :
       {"", "ftp://h/", "file:///etc/passwd", "http://", "http://u:p@h/", "http://h/\r\nX: y", "http://h:0/x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseUrl(text).status())) << text;
  }
  EXPECT_THAT(std::string(ParseUrl("ftp://h/?sig=secret").status().message()), Not(HasSubstr("secret")));
}

TEST(Url, Redirects) {
  Url base = *ParseUrl("https://h/v2/a/blobs/x");
  EXPECT_EQ(ResolveUrl(base, "/other?q")->ToString(), "https://h/other?q");
  EXPECT_EQ(ResolveUrl(base, "https://cdn:1/y")->ToString(), "https://cdn:1/y");
  EXPECT_EQ(ResolveUrl(base, "//cdn/y")->ToString(), "https://cdn/y");
  EXPECT_FALSE(ResolveUrl(base, "").ok());
  EXPECT_FALSE(ResolveUrl(base, "gopher://x/").ok());
}

TEST(Retry, BackoffDoublesUpToItsBound) {
  RetryPolicy policy;
  EXPECT_EQ(Backoff(policy, 1, 0.0), absl::Milliseconds(125));
  EXPECT_LE(Backoff(policy, 1, 0.99), absl::Milliseconds(250));
  EXPECT_EQ(Backoff(policy, 3, 0.0), absl::Milliseconds(500));
  EXPECT_EQ(Backoff(policy, 1000, 0.0), absl::Seconds(4));
}

TEST(Retry, RetryAfterInBothForms) {
  absl::Time now = absl::FromUnixSeconds(1'445'412'480);  // Wed, 21 Oct 2015 07:28:00 GMT
  EXPECT_EQ(ParseRetryAfter("3", now), absl::Seconds(3));
  EXPECT_EQ(ParseRetryAfter("Wed, 21 Oct 2015 07:28:10 GMT", now), absl::Seconds(10));
  EXPECT_EQ(ParseRetryAfter("Wed, 21 Oct 2015 07:27:10 GMT", now), absl::ZeroDuration());
  for (auto text : {"", "-5", "soon", "1e9x"}) EXPECT_EQ(ParseRetryAfter(text, now), absl::ZeroDuration()) << text;
}

TEST(Retry, WaitEndsWithCancellation) {
  int asked = 0;
  EXPECT_TRUE(absl::IsCancelled(Wait(absl::Hours(1), [&] { return ++asked > 2; })));
  EXPECT_TRUE(Wait(absl::ZeroDuration(), {}).ok());
}

TEST(TokenAnswer, BothNamesAndTheDefaultLifetime) {
  auto answer = ParseTokenAnswer(R"({"token":"abc"})");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->token, "abc");
  EXPECT_EQ(answer->lifetime, absl::Seconds(60));
  answer = ParseTokenAnswer(R"({"access_token":"x.y","expires_in":300})");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->token, "x.y");
  EXPECT_EQ(answer->lifetime, absl::Seconds(300));
}

TEST(TokenAnswer, WithoutAUsableTokenIsRefused) {
  for (auto text : {"", "[]", "{}", R"({"token":5})", R"({"token":"a\r\nEvil: b"})", R"({"token":"a b"})",
                    R"({"token":"a","expires_in":"x"})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseTokenAnswer(text).status())) << text;
  }
}

TEST(Credentials, KeysDifferAndHideThem) {
  Credentials a{.username = "ab", .password = "c"}, b{.username = "a", .password = "bc"};
  EXPECT_NE(CredentialsKey(a), CredentialsKey(b));
  EXPECT_NE(CredentialsKey({.identity_token = "t"}), CredentialsKey({.registry_token = "t"}));
  EXPECT_EQ(BasicAuthorization({.username = "Aladdin", .password = "open sesame"}),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

}  // namespace
}  // namespace berth::image
