#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/stream/command_status.h"
#include "cli/stream/connect.h"
#include "cli/stream/detach_keys.h"
#include "cli/stream/local_io.h"
#include "cli/stream/port_spec.h"
#include "cli/stream/upgrade.h"

namespace berth::cli::stream {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(UrlTest, PartsOfAUrl) {
  auto url = ParseUrl("http://127.0.0.1:10010/exec/TOKEN?a=b");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_EQ(url->scheme, "http");
  EXPECT_EQ(url->host, "127.0.0.1");
  EXPECT_EQ(url->authority, "127.0.0.1:10010");
  EXPECT_EQ(url->port, 10010);
  EXPECT_EQ(url->target, "/exec/TOKEN?a=b");
  EXPECT_EQ(ParseUrl("https://[::1]/x")->host, "::1");
  EXPECT_EQ(ParseUrl("https://[::1]/x")->port, 443);
  EXPECT_EQ(ParseUrl("http://node")->target, "/");
}

TEST(UrlTest, WhatIsNoneIsRefusedWithoutShowingIt) {
  for (const char* text : {"", "127.0.0.1:1/SECRET", "ftp://h/SECRET", "http://h:0/SECRET", "http://h:99999/SECRET",
                           "http:///SECRET", "http://::1/SECRET", "http://u@h/SECRET", "http://h/SECRET\r\nX: y"}) {
    auto url = ParseUrl(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_THAT(url.status().message(), Not(HasSubstr("SECRET")));
  }
}

class UpgradeTest : public ::testing::Test {
 protected:
  UpgradeTest() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) abort();
    ours_.Reset(ends[0]);
    theirs_.Reset(ends[1]);
  }
  absl::StatusOr<std::string> Ask(const std::string& answer, bool close = false) {
    if (!answer.empty() && write(theirs_.get(), answer.data(), answer.size()) < 0) abort();
    if (close) shutdown(theirs_.get(), SHUT_WR);
    return Upgrade(ours_.get(), *ParseUrl("http://h:1/exec/SECRET"), "v4.channel.k8s.io",
                   absl::Now() + absl::Milliseconds(200));
  }
  sys::UniqueFd ours_, theirs_;
};

constexpr char kGood[] =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: spdy/3.1\r\nConnection: keep-alive, upgrade\r\n"
    "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";

TEST_F(UpgradeTest, WhatComesBehindTheAnswerIsKept) {
  auto early = Ask(absl::StrCat(kGood, "spdy's"));
  ASSERT_TRUE(early.ok()) << early.status();
  EXPECT_EQ(*early, "spdy's");
  char request[1000] = {};
  ASSERT_GT(read(theirs_.get(), request, sizeof request - 1), 0);
  EXPECT_THAT(request, ::testing::StartsWith("POST /exec/SECRET HTTP/1.1\r\nHost: h:1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nUpgrade: SPDY/3.1\r\n"));
  EXPECT_THAT(request, HasSubstr("\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n"));
}

TEST_F(UpgradeTest, RefusalsHaveTheServersText) {
  auto early = Ask("HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nno token and more");
  EXPECT_EQ(early.status(), absl::NotFoundError("the streaming server refuses: 404 Not Found: no token"));
}

TEST_F(UpgradeTest, RefusalWithoutLengthEndsWithTheConnection) {
  auto early = Ask("HTTP/1.1 403 Forbidden\r\n\r\ngo away\n", true);
  EXPECT_EQ(early.status(), absl::PermissionDeniedError("the streaming server refuses: 403 Forbidden: go away"));
}

TEST_F(UpgradeTest, SilenceIsNotWaitedForForEver) {
  EXPECT_EQ(Ask("HTTP/1.1 101 Sw").status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(UpgradeTest, EndOfTheConnectionIsUnavailable) {
  EXPECT_EQ(Ask("", true).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(UpgradeTest, HeaderWithoutEndIsBounded) {
  std::thread writer([&] {
    std::string flood(1000, 'x');
    while (send(theirs_.get(), flood.data(), flood.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  EXPECT_EQ(Ask("").status().code(), absl::StatusCode::kInternal);
  ours_.Reset();
  writer.join();
}

TEST(UpgradeAnswerTest, WhatIsNoUpgradeIsAnError) {
  const std::string good = kGood;
  auto without = [&](const std::string& what, const std::string& instead) {
    std::string text = good;
    return text.replace(text.find(what), what.size(), instead);
  };
  for (const std::string& text :
       {std::string("SSH-2.0-x\r\n\r\n"), without("HTTP/1.1 101", "HTTP/1.1 1x1"), without("HTTP/1.1", "HTTP/2.0"),
        without("spdy/3.1", "websocket"), without(", upgrade", ""), without("v4.", "v3."),
        without("upgrade: ", " folded: "), without("X-Stream-Protocol-Version: v4.channel.k8s.io\r\n", "")}) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    sys::UniqueFd ours(ends[0]), theirs(ends[1]);
    ASSERT_GT(write(theirs.get(), text.data(), text.size()), 0);
    auto early = Upgrade(ours.get(), *ParseUrl("http://h/"), "v4.channel.k8s.io", absl::Now() + absl::Seconds(5));
    EXPECT_EQ(early.status().code(), absl::StatusCode::kInternal) << text;
  }
}

TEST(ConnectTest, HttpsWithoutASocketSaysWhatIsNeeded) {
  auto fd = Connect("/nonexistent/berth.sock", *ParseUrl("https://node:1/SECRET"), absl::Now() + absl::Seconds(1));
  EXPECT_EQ(fd.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(fd.status().message(), HasSubstr("/nonexistent/streaming.sock"));
  EXPECT_THAT(fd.status().message(), Not(HasSubstr("SECRET")));
}

TEST(ConnectTest, TcpWhereThereIsNoSocket) {
  auto listeners = Listen({"127.0.0.1", 0, 80});
  ASSERT_TRUE(listeners.ok()) << listeners.status();
  auto url = ParseUrl(absl::StrCat("http://localhost:", listeners->front().local, "/"));
  auto fd = Connect("/nonexistent/berth.sock", *url, absl::Now() + absl::Seconds(5));
  EXPECT_TRUE(fd.ok()) << fd.status();
  listeners->clear();
  fd = Connect("/nonexistent/berth.sock", *url, absl::Now() + absl::Seconds(5));
  EXPECT_THAT(fd.status().message(), HasSubstr("cannot reach the runtime's streams at localhost:"));
}

TEST(DetachKeysTest, ListsOfKeys) {
  EXPECT_EQ(*ParseDetachKeys("ctrl-p,ctrl-q"), "\x10\x11");
  EXPECT_EQ(*ParseDetachKeys("Ctrl-],x,~"), "\x1dx~");
  EXPECT_EQ(*ParseDetachKeys(""), "");
  for (const char* bad : {"ctrl-", "ctrl-1", "ctrl-pp", "xy", "ctrl-p,", ","})
    EXPECT_FALSE(ParseDetachKeys(bad).ok()) << bad;
}

TEST(DetachKeysTest, BeginningIsHeldBackUntilItIsClear) {
  DetachKeys keys("\x10\x11");
  EXPECT_EQ(keys.Filter("ab\x10"), "ab");
  EXPECT_EQ(keys.Filter("c\x10\x10"),
            "\x10"
            "c\x10");
  EXPECT_FALSE(keys.detached());
  EXPECT_EQ(keys.Filter("\x11rest"), "");
  EXPECT_TRUE(keys.detached());
  EXPECT_EQ(keys.Filter("more"), "");
}

TEST(DetachKeysTest, KeysThatBeginWithThemselves) {
  DetachKeys keys("aab");
  EXPECT_EQ(keys.Filter("aaab"), "a");
  EXPECT_TRUE(keys.detached());
  DetachKeys none("");
  EXPECT_EQ(none.Filter("\x10\x11"), "\x10\x11");
}

TEST(PortSpecTest, Forms) {
  struct Case {
    const char* text;
    const char* address;
    int local, remote;
  };
  for (const Case& c : {Case{"80", "", 80, 80},
                        {"8080:80", "", 8080, 80},
                        {":80", "", 0, 80},
                        {"0:80", "", 0, 80},
                        {"127.0.0.1:8080:80", "127.0.0.1", 8080, 80},
                        {"127.0.0.1::80", "127.0.0.1", 0, 80},
                        {"127.0.0.1:80", "127.0.0.1", 80, 80},
                        {"[::1]:8080:80", "::1", 8080, 80},
                        {"localhost:1:2", "localhost", 1, 2}}) {
    auto spec = ParsePortSpec(c.text);
    ASSERT_TRUE(spec.ok()) << spec.status();
    EXPECT_EQ(spec->address, c.address) << c.text;
    EXPECT_EQ(spec->local, c.local) << c.text;
    EXPECT_EQ(spec->remote, c.remote) << c.text;
  }
  for (const char* bad :
       {"", "0", "x", "80:0", "65536", "1:2:3", "1:2:3:4", "[::1]80", "[::1", "nope:1:2", "-1", "+1", ": 1"})
    EXPECT_FALSE(ParsePortSpec(bad).ok()) << bad;
}

TEST(PortSpecTest, LocalhostIsBothLoopbacksWithOnePort) {
  auto both = Listen({"localhost", 0, 80});
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_THAT(both->front().name, ::testing::StartsWith("127.0.0.1:"));
  EXPECT_EQ(both->back().local, both->front().local);
  auto taken = Listen({"localhost", both->front().local, 80});
  EXPECT_EQ(ErrnoOf(taken.status()), EADDRINUSE);
  EXPECT_THAT(taken.status().message(), HasSubstr(both->front().name));
}

TEST(CommandStatusTest, ExitCodesAndFailures) {
  EXPECT_EQ(*ParseCommandStatus(R"({"metadata":{},"status":"Success"})"), 0);
  EXPECT_EQ(*ParseCommandStatus(R"({"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[
      {"reason":"Other"},{"reason":"ExitCode","message":"137"}]}})"),
            137);
  auto failed = ParseCommandStatus(R"({"status":"Failure","reason":"InternalError","message":"no such file"})");
  EXPECT_EQ(failed.status().message(), "no such file");
  EXPECT_EQ(ParseCommandStatus(" ").status().code(), absl::StatusCode::kUnavailable);
  for (const char* bad :
       {"text", "[]", "{}", R"({"status":1})", R"({"status":"Failure","reason":"NonZeroExitCode"})",
        R"({"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"x"}]}})",
        R"({"status":"Failure","reason":"NonZeroExitCode","details":{"causes":7}})"})
    EXPECT_FALSE(ParseCommandStatus(bad).ok()) << bad;
}

TEST(LocalIoTest, PipeOfOthersIsNeverWaitedFor) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  sys::UniqueFd read(ends[0]), write(ends[1]);
  std::string much(1 << 20, 'x');
  auto n = WriteReady(write.get(), KindOf(write.get()), much);
  ASSERT_TRUE(n.ok()) << n.status();
  EXPECT_GE(*n, 4096u);
  EXPECT_LT(*n, much.size());
  EXPECT_EQ(*WriteReady(write.get(), KindOf(write.get()), much), 0u);
  EXPECT_EQ(fcntl(write.get(), F_GETFL) & O_NONBLOCK, 0);
  read.Reset();
  signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(ErrnoOf(WriteReady(write.get(), KindOf(write.get()), much).status()), EPIPE);
}

}  // namespace
}  // namespace berth::cli::stream
