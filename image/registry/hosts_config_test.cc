#include "image/registry/hosts_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "runtime/base/id.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

Reference Ref(absl::string_view text) { return *ParseReference(text); }

std::vector<std::string> Urls(const std::vector<Endpoint>& endpoints) {
  std::vector<std::string> out;
  for (const Endpoint& endpoint : endpoints) out.push_back(endpoint.base.ToString());
  return out;
}

TEST(HostsToml, NothingMeansTheRegistryItself) {
  auto hub = ParseHostsToml("", "", Ref("busybox"));
  ASSERT_TRUE(hub.ok()) << hub.status();
  EXPECT_THAT(Urls(*hub), ElementsAre("https://registry-1.docker.io/v2"));
  EXPECT_FALSE(hub->at(0).is_mirror);
  EXPECT_TRUE(hub->at(0).resolve);
}

TEST(HostsToml, LoopbackIsPlainHttp) {
  for (absl::string_view name :
       {"localhost:5000/a", "127.0.0.1:5000/a", "127.9.9.9/a", "[::1]:5000/a", "localhost/a"}) {
    EXPECT_EQ(ParseHostsToml("", "", Ref(name))->at(0).base.scheme, "http") << name;
  }
  for (absl::string_view name : {"10.0.0.1:5000/a", "localhost.io/a", "[fe80::1]/a", "h.io:80/a", "128.0.0.1/a"}) {
    EXPECT_EQ(ParseHostsToml("", "", Ref(name))->at(0).base.scheme, "https") << name;
  }
}

TEST(HostsToml, MirrorsInTheOrderOfTheFile) {
  auto all = ParseHostsToml(R"(
server = "https://h.io"
skip_verify = true
[host."https://z.mirror"]
  capabilities = ["pull"]
  ca = ["one.pem", "/etc/two.pem"]
  [host."https://z.mirror".header]
    x-one = "1"
    x-many = ["2", "3"]
[host."http://a.mirror:8080/prefix"]
  capabilities = ["pull", "resolve"]
  client = [["c.cert", "c.key"]]
  dial_timeout = "1500ms"
[host."https://b.mirror/api/images"]
  override_path = true
  client = "both.pem"
)",
                            "/certs", Ref("h.io/app"));
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(Urls(*all), ElementsAre("https://z.mirror/v2", "http://a.mirror:8080/prefix/v2",
                                      "https://b.mirror/api/images", "https://h.io/v2"));
  const Endpoint &z = all->at(0), &a = all->at(1), &b = all->at(2), &own = all->at(3);
  EXPECT_FALSE(z.resolve);
  EXPECT_TRUE(z.pull);
  EXPECT_TRUE(z.is_mirror);
  EXPECT_THAT(z.tls.ca_files, ElementsAre("/certs/one.pem", "/etc/two.pem"));
  EXPECT_THAT(z.headers, ::testing::UnorderedElementsAre(Pair("x-one", "1"), Pair("x-many", "2"), Pair("x-many", "3")));
  EXPECT_TRUE(a.resolve);
  EXPECT_EQ(a.tls.client_cert, "/certs/c.cert");
  EXPECT_EQ(a.tls.client_key, "/certs/c.key");
  EXPECT_EQ(a.dial_timeout, absl::Milliseconds(1500));
  EXPECT_EQ(z.dial_timeout, absl::ZeroDuration());
  EXPECT_EQ(b.tls.client_cert, "/certs/both.pem");
  EXPECT_FALSE(z.tls.skip_verify);
  EXPECT_TRUE(own.tls.skip_verify);
  EXPECT_FALSE(own.is_mirror);
}

TEST(HostsToml, TheRegistryListedAsAHostIsNoMirror) {
  auto all = ParseHostsToml("[host.\"https://h.io\"]\n", "", Ref("h.io/app"));
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_FALSE(all->at(0).is_mirror);
}

TEST(HostsToml, WrongFilesAreRefusedWithTheField) {
  struct {
    const char *text, *why;
  } cases[] = {{"server = 5", "'server'"},
               {"server = ", "line 1"},
               {"host = 5", "'host'"},
               {"[host.\"ftp://x\"]", "neither http nor https"},
               {"[host.\"https://u:p@x\"]", "user name"},
               {"[host.\"https://x?y\"]", "query"},
               {"skip_verify = \"yes\"", "'skip_verify'"},
               {"override_path = 1", "'override_path'"},
               {"capabilities = 1", "'capabilities'"},
               {"ca = [1]", "'ca'"},
               {"client = [[\"a\",\"b\",\"c\"]]", "'client'"},
               {"header = 1", "'header'"},
               {"dial_timeout = 5", "'dial_timeout'"},
               {"dial_timeout = \"soon\"", "'dial_timeout'"},
               {"dial_timeout = \"-1s\"", "'dial_timeout'"},
               {"capabilities = [\"pul\"]", "'capabilities': expected pull, resolve, push or referrers, not 'pul'"},
               {"skip_verfy = true", "unknown key 'skip_verfy'"},
               {"[host.\"https://m\"]\nserver = \"x\"", "host 'https://m': unknown key 'server'"}};
  for (const auto& c : cases) {
    auto all = ParseHostsToml(c.text, "", Ref("h.io/app"));
    ASSERT_FALSE(all.ok()) << c.text;
    EXPECT_TRUE(absl::IsInvalidArgument(all.status())) << all.status();
    EXPECT_THAT(std::string(all.status().message()), HasSubstr(c.why));
  }
}

class HostsDirs : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(::testing::TempDir(), "berth-hosts-", getpid(), "-", RandomHexId().substr(0, 8));
  }
  void TearDown() override { sys::RemoveTreeAt(AT_FDCWD, root_).IgnoreError(); }
  void Write(const std::string& dir, const std::string& name, absl::string_view text) {
    ASSERT_TRUE(sys::MakeDirs(absl::StrCat(root_, "/", dir), 0755).ok());
    auto fd = sys::Open(absl::StrCat(root_, "/", dir), O_RDONLY | O_DIRECTORY);
    ASSERT_TRUE(fd.ok() && sys::ReplaceFileAt(fd->get(), name, text, 0644).ok());
  }
  std::string First(absl::string_view reference) {
    auto all = FindEndpoints(Ref(reference), {root_ + "/one", root_ + "/two"});
    return all.ok() ? all->at(0).base.ToString() : all.status().ToString();
  }
  std::string root_;
};

TEST_F(HostsDirs, TheMostSpecialDirectoryDecides) {
  EXPECT_EQ(First("h.io:5000/a"), "https://h.io:5000/v2");
  Write("one/_default", "hosts.toml", "[host.\"https://default\"]");
  EXPECT_EQ(First("h.io:5000/a"), "https://default/v2");
  Write("two/h.io:5000", "hosts.toml", "[host.\"https://plain\"]");
  EXPECT_EQ(First("h.io:5000/a"), "https://plain/v2") << "a host's own directory counts more than a default before it";
  Write("two/h.io_5000_", "hosts.toml", "[host.\"https://escaped\"]");
  EXPECT_EQ(First("h.io:5000/a"), "https://escaped/v2");
  Write("one/h.io:5000", "hosts.toml", "server = \"https://first\"");
  EXPECT_EQ(First("h.io:5000/a"), "https://first/v2");
  EXPECT_EQ(First("other.io/a"), "https://default/v2");
}

TEST_F(HostsDirs, ErrorsNameTheFile) {
  Write("one/h.io", "hosts.toml", "server = 1");
  EXPECT_THAT(First("h.io/a"), HasSubstr("one/h.io/hosts.toml"));
}

TEST_F(HostsDirs, CertificatesWithoutHostsToml) {
  Write("one/h.io", "a.crt", "");
  Write("one/h.io", "me.cert", "");
  EXPECT_THAT(First("h.io/a"), HasSubstr("me.key")) << "a certificate without its key";
  Write("one/h.io", "me.key", "");
  auto all = FindEndpoints(Ref("h.io/a"), {root_ + "/one"});
  ASSERT_TRUE(all.ok()) << all.status();
  ASSERT_EQ(all->size(), 1u);
  EXPECT_THAT(all->at(0).tls.ca_files, ElementsAre(root_ + "/one/h.io/a.crt"));
  EXPECT_EQ(all->at(0).tls.client_key, root_ + "/one/h.io/me.key");
}

}  // namespace
}  // namespace berth::image
