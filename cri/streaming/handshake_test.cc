#include "cri/streaming/handshake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace berth::streaming {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RequestHead Head(absl::string_view method, absl::string_view target, absl::string_view lines) {
  const std::string text = absl::StrCat(method, " ", target, " HTTP/1.1\r\nHost: node\r\n", lines, "\r\n");
  EXPECT_EQ(HeadSize(text), text.size());
  auto head = ParseHead(text);
  EXPECT_TRUE(head.ok()) << head.status() << "\n" << text;
  return head.ok() ? *head : RequestHead{};
}

const Request kExec = ExecRequest{}, kAttach = AttachRequest{}, kForward = PortForwardRequest{};

std::string Chosen(const std::variant<Refusal, Upgrade>& choice) {
  if (const auto* refusal = std::get_if<Refusal>(&choice)) return absl::StrCat(refusal->status);
  const auto& upgrade = std::get<Upgrade>(choice);
  const char* carriers[] = {"spdy", "websocket", "tunnel"};
  return absl::StrCat(carriers[static_cast<int>(upgrade.carrier)], " '", upgrade.protocol, "'");
}

TEST(RequestHead, IsParsedWhole) {
  const std::string text = "POST /exec/t?a=b HTTP/1.1\r\nX-Two: a, b\r\nx-two: c\r\nContent-Length: 0\r\n\r\nbeyond";
  ASSERT_EQ(HeadSize(text), text.size() - 6);
  auto head = ParseHead(text.substr(0, HeadSize(text)));
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->method, "POST");
  EXPECT_EQ(head->path, "/exec/t");
  EXPECT_EQ(head->query, "a=b");
  EXPECT_THAT(head->List("x-two"), ElementsAre("a", "b", "c"));
  EXPECT_TRUE(head->Lists("x-two", "B"));
  EXPECT_FALSE(head->has_body);
}

TEST(RequestHead, SaysThatABodyFollows) {
  EXPECT_TRUE(Head("POST", "/", "Content-Length: 5\r\n").has_body);
  EXPECT_TRUE(Head("POST", "/", "Transfer-Encoding: chunked\r\n").has_body);
}

TEST(RequestHead, RefusesWhatIsNotHttp11) {
  for (const char* text :
       {"\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/2\r\n\r\n", "PRI * HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "\x16\x03\x01\r\n\r\n"}) {
    EXPECT_FALSE(ParseHead(text).ok()) << text;
  }
}

TEST(FindTarget, KnowsThreePathsAndTwoMethods) {
  struct {
    const char *method, *path;
    int status;  // 0: found
  } table[] = {
      {"GET", "/exec/t", 0},    {"POST", "/attach/t", 0},   {"GET", "/portforward/t?port=1", 0},
      {"PUT", "/exec/t", 405},  {"HEAD", "/exec/t", 405},   {"OPTIONS", "/", 405},
      {"GET", "/", 404},        {"GET", "/execute/t", 404}, {"GET", "exec/t", 404},
      {"GET", "//exec/t", 404}, {"GET", "/EXEC/t", 404},
  };
  for (const auto& row : table) {
    auto found = FindTarget(Head(row.method, row.path, ""));
    const auto* refusal = std::get_if<Refusal>(&found);
    EXPECT_EQ(refusal ? refusal->status : 0, row.status) << row.method << " " << row.path;
  }
  EXPECT_EQ(std::get<Target>(FindTarget(Head("GET", "/attach/a/b?c", ""))).token, "a/b");
}

TEST(FindTarget, APageOfAnotherOriginIsRefused) {
  struct {
    const char *host, *lines;
    bool good;
  } table[] = {
      {"127.0.0.1:99", "", true},
      {"127.0.0.1:99", "Origin: http://127.0.0.1:99\r\n", true},
      {"[::1]:99", "Origin: https://[::1]:99\r\n", true},
      {"localhost:99", "Origin: http://localhost:99\r\n", true},
      {"127.0.0.1:99", "Origin: http://127.0.0.1:98\r\n", false},
      {"127.0.0.1:99", "Origin: http://evil.example\r\n", false},
      {"127.0.0.1:99", "Origin: null\r\n", false},
      {"127.0.0.1:99", "Origin:\r\n", false},
      // The name of the page leads to us: DNS rebinding.
      {"evil.example:99", "Origin: http://evil.example:99\r\n", false},
      {"1.2.3.evil:99", "Origin: http://1.2.3.evil:99\r\n", false},
      // By way of the kubelet, whose client named its own server.
      {"api:6443", "Origin: https://api:6443\r\nX-Forwarded-For: 10.0.0.1\r\n", true},
      {"api:6443", "Origin: http://localhost\r\nX-Forwarded-For: 10.0.0.1\r\n", true},
  };
  for (const auto& row : table) {
    auto head = ParseHead(absl::StrCat("GET /exec/t HTTP/1.1\r\nHost: ", row.host, "\r\n", row.lines, "\r\n"));
    ASSERT_TRUE(head.ok());
    auto found = FindTarget(*head);
    EXPECT_EQ(std::holds_alternative<Target>(found), row.good) << row.host << " " << row.lines;
    if (!row.good) {
      EXPECT_EQ(std::get<Refusal>(found).status, 403);
    }
  }
}

TEST(ChooseUpgrade, Spdy) {
  const std::string spdy = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n";
  const std::string version = "X-Stream-Protocol-Version: ";
  struct {
    const Request* request;
    std::string lines, chosen;
  } table[] = {
      {&kExec, spdy + version + "v4.channel.k8s.io\r\n", "spdy 'v4.channel.k8s.io'"},
      {&kAttach, spdy + version + "v9, v3.channel.k8s.io,v4.channel.k8s.io\r\n", "spdy 'v3.channel.k8s.io'"},
      {&kExec, spdy + version + "v9\r\n" + version + "channel.k8s.io\r\n", "spdy 'channel.k8s.io'"},
      {&kExec, spdy, "spdy ''"},
      {&kExec, spdy + version + "\r\n", "400"},
      {&kExec, spdy + version + " ,, \r\n", "400"},
      {&kExec, spdy + version + "v5.channel.k8s.io\r\n", "403"},
      {&kExec, spdy + version + "portforward.k8s.io\r\n", "403"},
      {&kForward, spdy + version + "portforward.k8s.io\r\n", "spdy 'portforward.k8s.io'"},
      {&kForward, spdy + version + "v4.channel.k8s.io\r\n", "403"},
      {&kForward, spdy, "400"},
      {&kExec, "connection: keep-alive, upgrade\r\nUPGRADE: spdy/3.1\r\n", "spdy ''"},
      {&kExec, "Upgrade: SPDY/3.1\r\n", "400"},
      {&kExec, "Connection: Upgrade\r\nUpgrade: h2c\r\n", "400"},
      {&kExec, "Connection: Upgrade\r\n", "400"},
      {&kExec, "", "400"},
      {&kExec, spdy + "Content-Length: 3\r\n", "400"},
  };
  for (const auto& row : table) {
    EXPECT_EQ(Chosen(ChooseUpgrade(Head("POST", "/", row.lines), *row.request)), row.chosen) << row.lines;
  }
}

TEST(ChooseUpgrade, WhatIsThereIsToldWhenNothingFits) {
  auto choice = ChooseUpgrade(
      Head("POST", "/", "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v7\r\n"), kExec);
  const std::string response = ResponseOf(std::get<Refusal>(choice));
  EXPECT_THAT(response, HasSubstr("HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_THAT(response, HasSubstr("X-Accepted-Stream-Protocol-Versions: v4.channel.k8s.io\r\n"));
  EXPECT_THAT(response, HasSubstr("X-Accepted-Stream-Protocol-Versions: channel.k8s.io\r\n"));
  EXPECT_THAT(response, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(response, HasSubstr("v2.channel.k8s.io"));
}

constexpr absl::string_view kWebSocket =
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

TEST(ChooseUpgrade, WebSocket) {
  const std::string ws(kWebSocket);
  const std::string protocol = "Sec-WebSocket-Protocol: ";
  struct {
    const Request* request;
    std::string lines, chosen;
  } table[] = {
      {&kExec, ws, "websocket ''"},
      {&kExec, ws + protocol + "v5.channel.k8s.io, v4.channel.k8s.io\r\n", "websocket 'v5.channel.k8s.io'"},
      {&kExec, ws + protocol + "nothing, base64.channel.k8s.io\r\n", "websocket 'base64.channel.k8s.io'"},
      {&kAttach, ws + protocol + "v4.base64.channel.k8s.io\r\n", "websocket 'v4.base64.channel.k8s.io'"},
      {&kExec, ws + protocol + "v3.channel.k8s.io\r\n", "403"},
      {&kExec, ws + protocol + "SPDY/3.1+portforward.k8s.io\r\n", "403"},
      {&kForward, ws + protocol + "SPDY/3.1+portforward.k8s.io\r\n", "tunnel 'SPDY/3.1+portforward.k8s.io'"},
      {&kForward, ws + protocol + "v5.channel.k8s.io\r\n", "403"},
      {&kForward, ws + protocol + "v4.channel.k8s.io\r\n", "400"},  // no port
      {&kExec, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "400"},
      {&kExec, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n", "400"},
      {&kExec, "Upgrade: websocket\r\n", "400"},
  };
  for (const auto& row : table) {
    EXPECT_EQ(Chosen(ChooseUpgrade(Head("GET", "/", row.lines), *row.request)), row.chosen) << row.lines;
  }
  EXPECT_EQ(Chosen(ChooseUpgrade(Head("POST", "/", ws), kExec)), "405");
}

TEST(ChooseUpgrade, PortsOfAWebSocket) {
  const Request with_ports = PortForwardRequest{.ports = {7, 8}};
  const auto ports = [&](absl::string_view target, const Request& request) {
    auto choice = ChooseUpgrade(Head("GET", target, kWebSocket), request);
    if (std::holds_alternative<Refusal>(choice)) return std::vector<uint16_t>{};
    return std::get<Upgrade>(choice).ports;
  };
  EXPECT_THAT(ports("/?port=80&port=81", kForward), ElementsAre(80, 81));
  EXPECT_THAT(ports("/?x=1&ports=80%2C81,82", with_ports), ElementsAre(80, 81, 82));
  EXPECT_THAT(ports("/", with_ports), ElementsAre(7, 8));
  for (const char* bad :
       {"/", "/?port=", "/?port=0", "/?port=65536", "/?port=-1", "/?port=80,", "/?port=http", "/?port=%38%3",
        "/?port=1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,"
        "27,28,29,30,31,32,33"}) {
    EXPECT_THAT(ports(bad, kForward), ElementsAre()) << bad;
  }
}

}  // namespace
}  // namespace berth::streaming
