#include "image/reference/reference.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "image/store.h"

namespace berth::image {
namespace {

using ::testing::HasSubstr;

const std::string kSha256 = "sha256:" + std::string(64, 'a');
const std::string kSha512 = "sha512:" + std::string(128, 'b');

struct Good {
  std::string text, normal;
};
class NormalForm : public ::testing::TestWithParam<Good> {};

TEST_P(NormalForm, IsWhatTheGrammarSays) {
  auto normal = NormalizeReference(GetParam().text);
  ASSERT_TRUE(normal.ok()) << normal.status();
  EXPECT_EQ(*normal, GetParam().normal);
  auto again = NormalizeReference(*normal);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, *normal) << "the normal form of a normal form is itself";
}

INSTANTIATE_TEST_SUITE_P(
    References, NormalForm,
    ::testing::Values(
        Good{"busybox", "docker.io/library/busybox:latest"}, Good{"busybox:1", "docker.io/library/busybox:1"},
        Good{"me/app", "docker.io/me/app:latest"}, Good{"docker.io/busybox", "docker.io/library/busybox:latest"},
        Good{"index.docker.io/busybox:1", "docker.io/library/busybox:1"},
        Good{"index.docker.io/me/app", "docker.io/me/app:latest"}, Good{"a/b/c:x", "docker.io/a/b/c:x"},
        Good{"localhost/app", "localhost/app:latest"}, Good{"localhost:5000/app:v1", "localhost:5000/app:v1"},
        Good{"127.0.0.1:5000/a/b", "127.0.0.1:5000/a/b:latest"}, Good{"[::1]:5000/app", "[::1]:5000/app:latest"},
        Good{"[fe80::1]/app:2", "[fe80::1]/app:2"}, Good{"registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"},
        Good{"Registry/app", "Registry/app:latest"}, Good{"host:80/app", "host:80/app:latest"},
        Good{"busybox@" + kSha256, "docker.io/library/busybox@" + kSha256},
        Good{"busybox:1@" + kSha256, "docker.io/library/busybox@" + kSha256},
        Good{"q.io/a@" + kSha512, "q.io/a@" + kSha512}, Good{"a__b/c.d-e--f", "docker.io/a__b/c.d-e--f:latest"},
        Good{"app:A_b.C-1", "docker.io/library/app:A_b.C-1"},
        Good{"app:" + std::string(128, 't'), "docker.io/library/app:" + std::string(128, 't')},
        Good{"h.io/" + std::string(255, 'p'), "h.io/" + std::string(255, 'p') + ":latest"}));

struct Wrong {
  std::string text, why;
};
class Refused : public ::testing::TestWithParam<Wrong> {};

TEST_P(Refused, WithTheReason) {
  auto normal = NormalizeReference(GetParam().text);
  ASSERT_FALSE(normal.ok()) << *normal;
  EXPECT_EQ(normal.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(normal.status().message()), HasSubstr(GetParam().why));
}

INSTANTIATE_TEST_SUITE_P(
    References, Refused,
    ::testing::Values(
        Wrong{"", "is empty"}, Wrong{"Busybox", "lower case"}, Wrong{"docker.io/Me/app", "lower case"},
        Wrong{"app:", "the tag is empty"}, Wrong{"app:-x", "not a tag"}, Wrong{"app:a b", "not a tag"},
        Wrong{"app:" + std::string(129, 't'), "longer than 128"}, Wrong{"app:a:b", "not a tag"},
        Wrong{"h.io/" + std::string(256, 'p'), "longer than 255"}, Wrong{"/app", "not a part of a repository name"},
        Wrong{"h.io/", "repository name is missing"}, Wrong{"h.io//app", "not a part"}, Wrong{"app/", "not a part"},
        Wrong{"h.io/a/../b", "not a part"}, Wrong{"a___b", "not a part"}, Wrong{"-a", "not a part"},
        Wrong{"a-", "not a part"}, Wrong{"a..b", "not a part"}, Wrong{"https://h.io/app", "not a port"},
        Wrong{"h.io:0/app", "not a port"}, Wrong{"h.io:65536/app", "not a port"}, Wrong{"h.io:x/app", "not a port"},
        Wrong{"-h.io/app", "not a host name"}, Wrong{"h..io/app", "not a host name"}, Wrong{"[::1/app", "not closed"},
        Wrong{"[::g]/app", "not an IPv6"}, Wrong{"[::1]x/app", "only a port"},
        Wrong{"app@sha256:short", "app@sha256:short"}, Wrong{"app@md5:" + std::string(32, 'a'), "md5"},
        Wrong{"app@" + kSha256 + "@" + kSha256, "image reference"}, Wrong{std::string(64, 'a'), "an image's id"},
        Wrong{"app\n", "not a part"}, Wrong{std::string(1025, 'a'), "longer than 1024"}));

TEST(Reference, DockerHubAnswersElsewhere) {
  EXPECT_EQ(EndpointHost(*ParseReference("busybox")), "registry-1.docker.io");
  EXPECT_EQ(EndpointHost(*ParseReference("localhost:5000/busybox")), "localhost:5000");
}

TEST(Reference, TheDigestSelects) {
  auto ref = ParseReference("busybox:1@" + kSha256);
  ASSERT_TRUE(ref.ok()) << ref.status();
  EXPECT_EQ(ref->Selector(), kSha256);
  EXPECT_EQ(ref->tag, "");
  EXPECT_EQ(ref->Name(), "docker.io/library/busybox");
}

TEST(Reference, RegistriesOfCredentials) {
  struct {
    const char *image, *server;
    bool same;
  } cases[] = {{"h.io/a", "", true},
               {"h.io/a", "h.io", true},
               {"h.io/a", "https://H.IO/v2/", true},
               {"h.io/a", "https://h.io:443", true},
               {"h.io:443/a", "h.io", true},
               {"h.io/a", "h.io:5000", false},
               {"h.io:5000/a", "h.io", false},
               {"h.io:5000/a", "http://h.io:5000/", true},
               {"h.io/a", "https://h.io.evil", false},
               {"h.io/a", "evil/h.io", false},
               {"h.io:80/a", "http://h.io", true},
               {"[::1]:5000/a", "[::1]:5000", true},
               {"busybox", "https://index.docker.io/v1/", true},
               {"busybox", "docker.io", true},
               {"docker.io/me/app", "registry-1.docker.io", true},
               {"h.io/a", "https://index.docker.io/v1/", false},
               {"busybox", "h.io", false}};
  for (const auto& c : cases) {
    EXPECT_EQ(IsRegistryOf(*ParseReference(c.image), c.server), c.same) << c.image << " " << c.server;
  }
}

}  // namespace
}  // namespace berth::image
