// The pure parts of the client: URLs, waiting times, answers of token services.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "image/registry/host_health.h"
#include "image/registry/proxy.h"
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

TEST(HostHealth, OneThatRestsIsNotAsked) {
  HostHealth health;
  EXPECT_EQ(health.RestLeft("h:443"), absl::ZeroDuration());
  health.LetRest("h:443", absl::Seconds(20));
  health.LetRest("h:443", absl::Seconds(1));
  EXPECT_GT(health.RestLeft("h:443"), absl::Seconds(10)) << "the longer time holds";
  EXPECT_EQ(health.RestLeft("h:80"), absl::ZeroDuration()) << "another port is another host";
  health.LetRest("h:443", absl::Hours(100));
  EXPECT_LE(health.RestLeft("h:443"), HostHealth::kLongestRest);
  absl::Status resting = health.CheckRest("h:443");
  EXPECT_TRUE(absl::IsUnavailable(resting)) << resting;
  EXPECT_EQ(std::string(resting.message()), "h:443 asks to wait 10m");
  EXPECT_GT(RestOf(resting), absl::Minutes(9));
  EXPECT_EQ(RestOf(absl::UnavailableError("down")), absl::ZeroDuration());
  EXPECT_TRUE(health.CheckRest("other:443").ok());
}

TEST(HostHealth, ARestIsOverWhenItIs) {
  HostHealth health;
  health.LetRest("h:443", absl::Milliseconds(30));
  EXPECT_TRUE(absl::IsUnavailable(health.CheckRest("h:443")));
  absl::SleepFor(absl::Milliseconds(40));
  EXPECT_TRUE(health.CheckRest("h:443").ok());
}

TEST(HostHealth, ReachedAgain) {
  HostHealth health;
  health.SetUnreachable("h:443");
  EXPECT_TRUE(health.IsUnreachable("h:443"));
  EXPECT_FALSE(health.IsUnreachable("h:80"));
  health.SetReached("h:443");
  EXPECT_FALSE(health.IsUnreachable("h:443"));
}

TEST(HostHealth, ManyHostsAreForgottenInTime) {
  HostHealth health;
  for (int i = 0; i < 5000; ++i) health.SetUnreachable(absl::StrCat("h", i, ":443"));
  EXPECT_TRUE(health.IsUnreachable("h4999:443"));
}

TEST(Proxy, BySchemeAndNeverForThisMachine) {
  Proxies proxies{.http = "plain:3128", .https = "http://u:p@tls:3128"};
  EXPECT_EQ(ProxyFor(proxies, *ParseUrl("http://h/")), "http://plain:3128");
  EXPECT_EQ(ProxyFor(proxies, *ParseUrl("https://h/")), "http://u:p@tls:3128");
  for (auto text : {"http://localhost/", "https://127.0.0.1:5000/", "http://[::1]/"}) {
    EXPECT_EQ(ProxyFor(proxies, *ParseUrl(text)), "") << text;
  }
  EXPECT_EQ(ProxyFor({}, *ParseUrl("http://h/")), "");
}

TEST(Proxy, Exceptions) {
  struct {
    const char *except, *url;
    bool direct;
  } cases[] = {{"*", "https://h.io/", true},
               {"h.io", "https://h.io:5000/", true},
               {"H.io", "https://a.H.IO/", true},
               {"h.io", "https://xh.io/", false},
               {".h.io", "https://a.h.io/", true},
               {".h.io", "https://h.io/", false},
               {"*.h.io", "https://a.h.io/", true},
               {"x.io, h.io", "https://h.io/", true},
               {"x.io h.io", "https://h.io/", true},
               {"h.io:5000", "https://h.io:5000/", true},
               {"h.io:5000", "https://h.io/", false},
               {"h.io:443", "https://h.io/", true},
               {"10.0.0.0/8", "http://10.9.8.7:5000/", true},
               {"10.0.0.0/8", "http://11.9.8.7/", false},
               {"10.0.0.0/33", "http://10.9.8.7/", false},
               {"10.1.2.3", "http://10.1.2.3:5000/", true},
               {"10.1.2.3:80", "http://10.1.2.3:5000/", false},
               {"0.1.2.3", "http://10.1.2.3/", false},
               {"2001:db8::/32", "http://[2001:db8::5]:5000/", true},
               {"2001:db8::5", "http://[2001:db8::5]/", true},
               {"[2001:db8::5]:80", "http://[2001:db8::5]/", true},
               {"[2001:db8::5]:81", "http://[2001:db8::5]/", false},
               {"2001:db8::/32", "http://[2001:db9::5]/", false},
               {"10.0.0.0/8", "http://h10.io/", false},
               {"", "http://h.io/", false},
               {",, ,", "http://h.io/", false}};
  for (const auto& c : cases) {
    Proxies proxies{.http = "p:1", .https = "p:1", .except = c.except};
    EXPECT_EQ(ProxyFor(proxies, *ParseUrl(c.url)).empty(), c.direct) << c.except << " " << c.url;
  }
}

TEST(Proxy, FromTheEnvironment) {
  for (const char* name : {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}) {
    unsetenv(name);
  }
  EXPECT_EQ(ProxiesFromEnvironment().http, "");
  setenv("http_proxy", "lower", 1);
  setenv("no_proxy", "a", 1);
  EXPECT_EQ(ProxiesFromEnvironment().http, "lower");
  setenv("HTTP_PROXY", "upper", 1);
  setenv("HTTPS_PROXY", "tls", 1);
  Proxies all = ProxiesFromEnvironment();
  EXPECT_EQ(all.http, "upper");
  EXPECT_EQ(all.https, "tls");
  EXPECT_EQ(all.except, "a");
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
