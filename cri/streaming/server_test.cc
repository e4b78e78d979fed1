#include "cri/streaming/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstdlib>

#include "absl/strings/match.h"
#include "cri/streaming/testing_client.h"
#include "cri/streaming/testing_sessions.h"
#include "runtime/sys/file.h"

namespace berth::streaming {
namespace {

using namespace testing;  // NOLINT: the doubles of this folder
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    char base[] = "/tmp/berth-streaming-test-XXXXXX";
    ASSERT_NE(mkdtemp(base), nullptr);
    dir_ = base;
    options_.unix_socket = dir_ + "/socket";
    SessionsSeen();
  }
  void TearDown() override {
    server_.reset();
    EXPECT_EQ(LiveSessions(), 0);
    EXPECT_TRUE(sys::RemoveTreeAt(AT_FDCWD, dir_).ok());
  }

  void Start() {
    auto server = Server::Start(options_, NoBackend());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }
  std::string Path(Request request = ExecRequest{}) {
    auto url = server_->Url(std::move(request));
    EXPECT_TRUE(url.ok()) << url.status();
    return PathOfUrl(*url);
  }
  // The whole answer to one request on a connection of its own.
  std::string Ask(absl::string_view request) {
    const sys::UniqueFd fd = ConnectTcp(server_->port());
    EXPECT_TRUE(SendAll(fd.get(), request));
    const std::string head = ReadUntil(fd.get(), "\r\n\r\n");
    return absl::StrContains(head, "Content-Length") ? head + ReadUntil(fd.get(), "\n") : head;
  }
  // A session over SPDY's headers, as far as its 101.
  sys::UniqueFd Begin(const std::string& path) {
    sys::UniqueFd fd = ConnectTcp(server_->port());
    EXPECT_TRUE(SendAll(fd.get(), Get(path, kSpdyHeaders)));
    EXPECT_THAT(ReadUntil(fd.get(), "\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
    return fd;
  }

  std::string dir_;
  Server::Options options_;
  std::unique_ptr<Server> server_;
};

TEST_F(ServerTest, AnUpgradeBeginsASession) {
  Start();
  auto url = server_->Url(ExecRequest{});
  EXPECT_THAT(*url, StartsWith(absl::StrCat("http://127.0.0.1:", server_->port(), "/exec/")));
  const sys::UniqueFd fd = ConnectTcp(server_->port());
  // What comes right behind the head is the session's, too.
  ASSERT_TRUE(SendAll(fd.get(), Get(PathOfUrl(*url), kSpdyHeaders) + "early"));
  EXPECT_EQ(ReadUntil(fd.get(), "\r\n\r\n"),
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n");
  EXPECT_EQ(ReadExactly(fd.get(), 5), "early");
  ASSERT_TRUE(SendAll(fd.get(), "later"));
  EXPECT_EQ(ReadExactly(fd.get(), 5), "later");
  EXPECT_THAT(SessionsSeen(), ElementsAre("spdy v4.channel.k8s.io"));
}

TEST_F(ServerTest, AClientThatNamesNoProtocolGetsTheOldest) {
  Start();
  const sys::UniqueFd fd = ConnectTcp(server_->port());
  ASSERT_TRUE(SendAll(fd.get(), Get(Path(AttachRequest{}), "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n")));
  EXPECT_EQ(ReadUntil(fd.get(), "\r\n\r\n"),
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n");
}

TEST_F(ServerTest, AHeadMayComeByteByByte) {
  Start();
  const sys::UniqueFd fd = ConnectTcp(server_->port());
  for (char c : Get(Path(), kSpdyHeaders)) ASSERT_TRUE(SendAll(fd.get(), absl::string_view(&c, 1)));
  EXPECT_THAT(ReadUntil(fd.get(), "\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
}

TEST_F(ServerTest, TheUnixSocketServesTheSame) {
  Start();
  struct stat found;
  ASSERT_EQ(stat(options_.unix_socket.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  const sys::UniqueFd fd = ConnectUnix(options_.unix_socket);
  ASSERT_TRUE(SendAll(fd.get(), Get(Path(), kSpdyHeaders)));
  EXPECT_THAT(ReadUntil(fd.get(), "\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
  server_.reset();
  EXPECT_NE(stat(options_.unix_socket.c_str(), &found), 0);
}

TEST_F(ServerTest, ServesIpv6) {
  options_.address = "::1";
  Start();
  auto url = server_->Url(ExecRequest{});
  EXPECT_THAT(*url, StartsWith(absl::StrCat("http://[::1]:", server_->port(), "/exec/")));
  const sys::UniqueFd fd = ConnectTcp(server_->port(), "::1");
  ASSERT_TRUE(SendAll(fd.get(), Get(PathOfUrl(*url), kSpdyHeaders)));
  EXPECT_THAT(ReadUntil(fd.get(), "\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
}

TEST_F(ServerTest, AUrlIsGoodOnce) {
  Start();
  const std::string path = Path();
  const sys::UniqueFd fd = Begin(path);
  EXPECT_THAT(Ask(Get(path, kSpdyHeaders)), StartsWith("HTTP/1.1 404 "));
}

TEST_F(ServerTest, ARefusedRequestSpendsNothing) {
  Start();
  const std::string path = Path();
  EXPECT_THAT(Ask(Get(path)), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Ask("PUT " + Get(path).substr(4)), StartsWith("HTTP/1.1 405 "));
  EXPECT_THAT(Ask(Get("/attach/" + path.substr(6), kSpdyHeaders)), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask(Get(path, absl::StrCat(kSpdyHeaders, "Origin: http://evil.example\r\n"))),
              StartsWith("HTTP/1.1 403 "));
  EXPECT_THAT(
      Ask(Get(path, "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v7.channel.k8s.io\r\n")),
      StartsWith("HTTP/1.1 403 "));
  Begin(path);
}

TEST_F(ServerTest, TheKindIsPartOfTheUrl) {
  Start();
  const std::string token = Path(PortForwardRequest{}).substr(13);
  const std::string spdy =
      "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n";
  EXPECT_THAT(Ask(Get("/exec/" + token, spdy)), StartsWith("HTTP/1.1 404 "));
  EXPECT_EQ(Ask(Get("/exec/" + token, spdy)), Ask(Get("/exec/unknown", spdy)));  // no one can tell them apart
  const sys::UniqueFd fd = ConnectTcp(server_->port());
  ASSERT_TRUE(SendAll(fd.get(), Get("/portforward/" + token, spdy)));
  EXPECT_THAT(ReadUntil(fd.get(), "\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
}

TEST_F(ServerTest, AUrlExpires) {
  options_.url_lifetime = absl::Milliseconds(1);
  Start();
  const std::string path = Path();
  EXPECT_TRUE(Eventually([&] { return absl::StrContains(Ask(Get(path, kSpdyHeaders)), " 404 "); }));
}

TEST_F(ServerTest, SoManyUrlsMayWait) {
  options_.max_pending = 2;
  Start();
  Path();
  Path();
  EXPECT_EQ(server_->Url(ExecRequest{}).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ServerTest, AnAnswerIsOneLineAndTheEnd) {
  Start();
  const sys::UniqueFd fd = ConnectTcp(server_->port());
  ASSERT_TRUE(SendAll(fd.get(), Get("/exec/unknown")));
  const std::string head = ReadUntil(fd.get(), "\r\n\r\n");
  EXPECT_THAT(head, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(head, HasSubstr("Content-Length: "));
  EXPECT_THAT(ReadUntil(fd.get(), "\n"), HasSubstr("no session waits here"));
  EXPECT_TRUE(AwaitEnd(fd.get()));
}

TEST_F(ServerTest, WhatIsNotHttpIsRefused) {
  Start();
  EXPECT_THAT(Ask("\x16\x03\x01\x02\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
  EXPECT_THAT(Ask("GET /exec/x HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(ServerTest, AHeadMayNotBeLong) {
  Start();
  EXPECT_THAT(Ask(absl::StrCat("GET /", std::string(17 * 1024, 'x'))), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Ask(Get("/exec/x", absl::StrCat("X: ", std::string(16 * 1024, 'x'), "\r\n"))),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(Ask(Get("/exec/x", absl::StrCat("X: ", std::string(15 * 1024, 'x'), "\r\n"))),
              StartsWith("HTTP/1.1 404 "));
}

TEST_F(ServerTest, ASilentClientIsDropped) {
  options_.handshake_timeout = absl::Milliseconds(50);
  Start();
  const sys::UniqueFd silent = ConnectTcp(server_->port()), slow = ConnectTcp(server_->port());
  ASSERT_TRUE(SendAll(slow.get(), "GET /exec/x HT"));
  EXPECT_TRUE(AwaitEnd(silent.get()));
  EXPECT_TRUE(AwaitEnd(slow.get()));
}

TEST_F(ServerTest, ASessionOutlivesTheHandshakesTimeout) {
  options_.handshake_timeout = absl::Milliseconds(50);
  Start();
  const sys::UniqueFd fd = Begin(Path());
  const sys::UniqueFd later = ConnectTcp(server_->port());
  ASSERT_TRUE(AwaitEnd(later.get()));  // its timeout has come, so the older one's has
  ASSERT_TRUE(SendAll(fd.get(), "still"));
  EXPECT_EQ(ReadExactly(fd.get(), 5), "still");
}

TEST_F(ServerTest, TooManySessionsAreRefusedAndSpendNothing) {
  options_.max_sessions = 2;
  Start();
  sys::UniqueFd one = Begin(Path()), two = Begin(Path());
  const std::string path = Path();
  EXPECT_THAT(Ask(Get(path, kSpdyHeaders)), StartsWith("HTTP/1.1 503 "));
  one.Reset();
  EXPECT_TRUE(Eventually([&] { return absl::StrContains(Ask(Get(path, kSpdyHeaders)), " 101 "); }));
}

TEST_F(ServerTest, ACrowdIsClosed) {
  options_.max_sessions = 1;
  Start();
  std::vector<sys::UniqueFd> crowd;
  for (int i = 0; i < 100; ++i) crowd.push_back(ConnectTcp(server_->port()));
  EXPECT_TRUE(AwaitEnd(crowd.back().get()));
  crowd.clear();
  EXPECT_TRUE(Eventually([&] { return absl::StrContains(Ask(Get(Path(), kSpdyHeaders)), " 101 "); }));
}

// accept(2) without descriptors must neither end the server nor keep a processor busy.
TEST_F(ServerTest, SurvivesALackOfDescriptors) {
  Start();
  const std::string path = Path();
  // UBSan looks once at the types that logging takes, and needs a pipe for it.
  spdlog::warn("a warning of {} is to come", std::string("too few descriptors"));
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  sys::UniqueFd waiting(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const rlimit none = {static_cast<rlim_t>(waiting.get()) + 1, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  waiting.Reset();
  waiting = ConnectTcp(server_->port());  // takes the last one
  rusage start, end;
  getrusage(RUSAGE_SELF, &start);
  usleep(500 * 1000);
  getrusage(RUSAGE_SELF, &end);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  const auto micros = [](const timeval& t) { return t.tv_sec * 1000000 + t.tv_usec; };
  EXPECT_LT(micros(end.ru_utime) + micros(end.ru_stime) - micros(start.ru_utime) - micros(start.ru_stime), 250000);
  ASSERT_TRUE(SendAll(waiting.get(), Get(path, kSpdyHeaders)));
  EXPECT_THAT(ReadUntil(waiting.get(), "\r\n\r\n"), StartsWith("HTTP/1.1 101 "));
}

TEST_F(ServerTest, ItsEndEndsEverything) {
  const int before = OpenDescriptors();
  Start();
  std::vector<sys::UniqueFd> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(Begin(Path()));
  clients.push_back(ConnectTcp(server_->port()));
  clients.push_back(ConnectTcp(server_->port()));
  ASSERT_TRUE(SendAll(clients.back().get(), "GET /"));
  clients.push_back(ConnectTcp(server_->port()));
  ASSERT_TRUE(SendAll(clients.back().get(), Get("/exec/unknown")));
  server_.reset();
  for (const auto& fd : clients) EXPECT_TRUE(AwaitEnd(fd.get()));
  clients.clear();
  EXPECT_EQ(OpenDescriptors(), before);
  EXPECT_EQ(LiveSessions(), 0);
}

TEST_F(ServerTest, CutConnectionsLeaveNothing) {
  Start();
  const int before = OpenSockets();
  for (size_t i = 0; i < 200; ++i) {
    const std::string request = Get(Path(), kSpdyHeaders);
    const sys::UniqueFd fd = ConnectTcp(server_->port());
    ASSERT_TRUE(SendAll(fd.get(), absl::string_view(request).substr(0, 1 + i * request.size() / 199)));
    if (i % 3 == 0) {  // a reset instead of an end
      const linger now = {1, 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
  }
  EXPECT_TRUE(Eventually([&] { return OpenSockets() == before; })) << OpenSockets() << " != " << before;
  EXPECT_EQ(LiveSessions(), 0);
}

TEST_F(ServerTest, BadOptionsAreNamed) {
  struct {
    std::function<void(Server::Options&)> change;
    absl::StatusCode code;
    const char* name;
  } table[] = {
      {[](auto& o) { o.address = "0.0.0.0"; }, absl::StatusCode::kInvalidArgument, "address"},
      {[](auto& o) { o.address = "::"; }, absl::StatusCode::kInvalidArgument, "address"},
      {[](auto& o) { o.address = "localhost"; }, absl::StatusCode::kInvalidArgument, "address"},
      {[](auto& o) { o.tls_cert = "/nowhere"; }, absl::StatusCode::kInvalidArgument, "tls_key"},
      {[](auto& o) { o.tls_client_ca = "/nowhere"; }, absl::StatusCode::kInvalidArgument, "tls_client_ca"},
      {[](auto& o) { o.tls_cert = o.tls_key = "/nowhere"; }, absl::StatusCode::kInvalidArgument, "/nowhere"},
      {[](auto& o) { o.threads = 0; }, absl::StatusCode::kInvalidArgument, "threads"},
      {[](auto& o) { o.max_sessions = 0; }, absl::StatusCode::kInvalidArgument, "max_sessions"},
      {[](auto& o) { o.url_lifetime = absl::ZeroDuration(); }, absl::StatusCode::kInvalidArgument, "url_lifetime"},
      {[](auto& o) { o.unix_socket = std::string(200, 'x'); }, absl::StatusCode::kInvalidArgument, "unix_socket"},
      {[](auto& o) { o.unix_socket = "/dev/null"; }, absl::StatusCode::kAlreadyExists, "unix_socket"},
  };
  for (const auto& row : table) {
    Server::Options options = options_;
    row.change(options);
    const auto server = Server::Start(options, NoBackend());
    EXPECT_EQ(server.status().code(), row.code) << server.status();
    EXPECT_THAT(server.status().message(), HasSubstr(row.name));
  }
  Start();
  options_.port = server_->port();
  options_.unix_socket.clear();
  EXPECT_EQ(Server::Start(options_, NoBackend()).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace berth::streaming
