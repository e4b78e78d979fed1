#include "cri/streaming/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <csignal>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "cri/streaming/server.h"
#include "cri/streaming/testing_client.h"
#include "cri/streaming/testing_sessions.h"
#include "runtime/sys/file.h"

namespace berth::streaming {
namespace {

using namespace testing;  // NOLINT: the doubles of this folder
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A blocking TLS client.
class TlsClient {
 public:
  // `cert` and `key`: the client's own, or empty. `version`: the latest that it knows.
  explicit TlsClient(uint16_t port, const std::string& cert = "", int version = TLS1_3_VERSION)
      : fd_(ConnectTcp(port)), context_(SSL_CTX_new(TLS_client_method()), SSL_CTX_free) {
    SSL_CTX_set_max_proto_version(context_.get(), version);
    SSL_CTX_set_security_level(context_.get(), 0);  // TLS 1.1 would not be offered otherwise
    if (!cert.empty()) {
      EXPECT_EQ(SSL_CTX_use_certificate_file(context_.get(), (cert + ".crt").c_str(), SSL_FILETYPE_PEM), 1);
      EXPECT_EQ(SSL_CTX_use_PrivateKey_file(context_.get(), (cert + ".key").c_str(), SSL_FILETYPE_PEM), 1);
    }
    ssl_ = {SSL_new(context_.get()), SSL_free};
    SSL_set_fd(ssl_.get(), fd_.get());
    connected_ = SSL_connect(ssl_.get()) == 1;
  }

  bool connected() const { return connected_; }
  bool Send(absl::string_view bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size())) == static_cast<int>(bytes.size());
  }
  std::string ReadUntil(absl::string_view end) {
    std::string all;
    char c;
    while (!absl::EndsWith(all, end) && SSL_read(ssl_.get(), &c, 1) == 1) all += c;
    return all;
  }
  std::string Read(size_t bytes) {
    std::string all(bytes, '\0');
    size_t got = 0;
    while (got < bytes) {
      const int n = SSL_read(ssl_.get(), all.data() + got, static_cast<int>(bytes - got));
      if (n <= 0) break;
      got += static_cast<size_t>(n);
    }
    all.resize(got);
    return all;
  }
  // Whether the server ended the connection in order, not by cutting it.
  bool AwaitGoodbye() {
    char c;
    const int n = SSL_read(ssl_.get(), &c, 1);
    return n <= 0 && SSL_get_error(ssl_.get(), n) == SSL_ERROR_ZERO_RETURN;
  }
  std::string PeerName() {
    char name[100] = {};
    X509* cert = SSL_get1_peer_certificate(ssl_.get());
    X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof name);
    X509_free(cert);
    return name;
  }

 private:
  sys::UniqueFd fd_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_;
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl_{nullptr, SSL_free};
  bool connected_ = false;
};

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    char base[] = "/tmp/berth-tls-test-XXXXXX";
    ASSERT_NE(mkdtemp(base), nullptr);
    dir_ = base;
    if (system("openssl version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no openssl to make certificates with";
    MakeCertificate("server", "first");
    options_.tls_cert = dir_ + "/server.crt";
    options_.tls_key = dir_ + "/server.key";
  }
  void TearDown() override {
    server_.reset();
    EXPECT_EQ(LiveSessions(), 0);
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok());
  }

  // FILE.crt and FILE.key, signed by themselves.
  void MakeCertificate(const std::string& file, const std::string& name) {
    const std::string path = absl::StrCat(dir_, "/", file);
    ASSERT_EQ(
        system(absl::StrCat("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=",
                            name, " -keyout ", path, ".key -out ", path, ".crt 2>/dev/null")
                   .c_str()),
        0);
  }
  void Start() {
    auto server = Server::Start(options_, NoBackend());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }
  std::string Path() { return PathOfUrl(*server_->Url(ExecRequest{})); }

  std::string dir_;
  Server::Options options_;
  std::unique_ptr<Server> server_;
};

TEST_F(TlsTest, ASessionRunsOverIt) {
  Start();
  auto url = server_->Url(ExecRequest{});
  EXPECT_THAT(*url, StartsWith("https://127.0.0.1:"));
  TlsClient client(server_->port());
  ASSERT_TRUE(client.connected());
  ASSERT_TRUE(client.Send(Get(PathOfUrl(*url), kSpdyHeaders) + "early"));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
  EXPECT_EQ(client.Read(5), "early");
  std::string big(3 << 20, '\0');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 31 + i / 777);
  std::string received;
  for (size_t at = 0; at < big.size(); at += 100000) {
    ASSERT_TRUE(client.Send(absl::string_view(big).substr(at, 100000)));
    received += client.Read(std::min<size_t>(100000, big.size() - at));
  }
  EXPECT_TRUE(received == big);
  server_.reset();
  EXPECT_TRUE(client.AwaitGoodbye());
}

TEST_F(TlsTest, NothingButTlsIsSpoken) {
  Start();
  const sys::UniqueFd plain = ConnectTcp(server_->port());
  ASSERT_TRUE(SendAll(plain.get(), Get(Path(), kSpdyHeaders)));
  EXPECT_THAT(ReadUntil(plain.get(), "\r\n\r\n"), Not(HasSubstr("HTTP")));
  EXPECT_FALSE(TlsClient(server_->port(), "", TLS1_1_VERSION).connected());
  EXPECT_TRUE(TlsClient(server_->port(), "", TLS1_2_VERSION).connected());
}

TEST_F(TlsTest, TheHandshakeHasAnEnd) {
  options_.handshake_timeout = absl::Milliseconds(100);
  Start();
  const sys::UniqueFd silent = ConnectTcp(server_->port());
  EXPECT_TRUE(AwaitEnd(silent.get()));
  TlsClient slow(server_->port());
  ASSERT_TRUE(slow.connected());
  EXPECT_TRUE(slow.AwaitGoodbye());
}

TEST_F(TlsTest, ANewCertificateIsServedAndABrokenOneIsNot) {
  Start();
  const auto name = [&] { return TlsClient(server_->port()).PeerName(); };
  EXPECT_EQ(name(), "first");
  MakeCertificate("next", "second");
  // The certificate comes before its key: for a moment they do not belong together.
  ASSERT_EQ(rename((dir_ + "/next.crt").c_str(), options_.tls_cert.c_str()), 0);
  absl::SleepFor(absl::Milliseconds(1100));  // the files are looked at once a second
  EXPECT_EQ(name(), "first");
  ASSERT_EQ(rename((dir_ + "/next.key").c_str(), options_.tls_key.c_str()), 0);
  EXPECT_TRUE(Eventually([&] { return name() == "second"; }));
  ASSERT_EQ(unlink(options_.tls_key.c_str()), 0);
  absl::SleepFor(absl::Milliseconds(1100));
  EXPECT_EQ(name(), "second");
}

TEST_F(TlsTest, ClientsMayHaveToShowACertificate) {
  MakeCertificate("friend", "friend");
  MakeCertificate("stranger", "stranger");
  options_.tls_client_ca = dir_ + "/friend.crt";
  Start();
  // With TLS 1.3 a client learns that it was refused when it reads.
  const auto answer = [&](const std::string& cert) {
    TlsClient client(server_->port(), cert);
    client.Send(Get(Path(), kSpdyHeaders));
    return client.ReadUntil("\r\n\r\n");
  };
  EXPECT_THAT(answer(dir_ + "/friend"), StartsWith("HTTP/1.1 101 "));
  EXPECT_EQ(answer(dir_ + "/stranger"), "");
  EXPECT_EQ(answer(""), "");
}

TEST_F(TlsTest, BadFilesAreNamed) {
  MakeCertificate("other", "other");
  ASSERT_TRUE(sys::WriteAll(sys::Open(dir_ + "/junk", O_CREAT | O_WRONLY, 0600)->get(), "junk", "junk").ok());
  struct {
    std::string Server::Options::*option;
    std::string path;
  } table[] = {
      {&Server::Options::tls_cert, dir_ + "/missing"},   {&Server::Options::tls_cert, dir_ + "/junk"},
      {&Server::Options::tls_key, dir_ + "/missing"},    {&Server::Options::tls_key, dir_ + "/junk"},
      {&Server::Options::tls_key, dir_ + "/other.key"},  {&Server::Options::tls_client_ca, dir_ + "/missing"},
      {&Server::Options::tls_client_ca, dir_ + "/junk"},
  };
  for (const auto& row : table) {
    Server::Options options = options_;
    options.*row.option = row.path;
    const auto server = Server::Start(options, NoBackend());
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << row.path;
    EXPECT_THAT(server.status().message(), HasSubstr(row.path));
  }
}

TEST_F(TlsTest, AnAddressThatIsNotLoopbackTakesIt) {
  options_.address = "0.0.0.0";
  Start();
  EXPECT_TRUE(TlsClient(server_->port()).connected());
}

TEST_F(TlsTest, CutConnectionsLeaveNothing) {
  Start();
  const int before = OpenSockets();
  for (size_t i = 0; i < 100; ++i) {
    TlsClient client(server_->port());
    const std::string request = Get(Path(), kSpdyHeaders);
    client.Send(absl::string_view(request).substr(0, 1 + i * request.size() / 99));
  }
  EXPECT_TRUE(Eventually([&] { return OpenSockets() == before; })) << OpenSockets() << " != " << before;
}

}  // namespace
}  // namespace berth::streaming
