#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket.hpp>
#include <csignal>
#include <map>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "cri/streaming/server.h"
#include "cri/streaming/testing_client.h"
#include "cri/streaming/testing_sessions.h"

namespace berth::streaming {
namespace {

using namespace testing;  // NOLINT: the doubles of this folder
using ::testing::Contains;
using ::testing::ElementsAre;
namespace asio = boost::asio;
namespace websocket = boost::beast::websocket;

// A blocking client.
class Client {
 public:
  Client(uint16_t port, const std::string& path, const std::string& protocol) : socket_(io_) {
    auto& tcp = socket_.next_layer();
    tcp.connect({asio::ip::make_address("127.0.0.1"), port});
    const timeval ten = {10, 0};
    setsockopt(tcp.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &ten, sizeof ten);
    setsockopt(tcp.native_handle(), SOL_SOCKET, SO_SNDTIMEO, &ten, sizeof ten);
    socket_.set_option(websocket::stream_base::decorator([&](websocket::request_type& request) {
      if (!protocol.empty()) request.set(boost::beast::http::field::sec_websocket_protocol, protocol);
    }));
    socket_.read_message_max(0);
    websocket::response_type response;
    socket_.handshake(response, absl::StrCat("127.0.0.1:", port), path, error);
    chosen = std::string(response[boost::beast::http::field::sec_websocket_protocol]);
  }

  bool Send(absl::string_view bytes, bool text = false) {
    socket_.text(text);
    socket_.write(asio::buffer(bytes.data(), bytes.size()), error);
    return !error;
  }
  bool SendOn(int channel, absl::string_view bytes) {
    return Send(std::string(1, static_cast<char>(channel)) + std::string(bytes));
  }
  // The next message; nothing when the connection ends.
  std::optional<std::string> Read() {
    boost::beast::flat_buffer buffer;
    socket_.read(buffer, error);
    if (error) return std::nullopt;
    return boost::beast::buffers_to_string(buffer.data());
  }
  // What comes on each channel until the connection ends.
  std::map<int, std::string> ReadAll(bool base64 = false) {
    std::map<int, std::string> channels;
    while (auto message = Read()) {
      std::string bytes = message->substr(1);
      if (base64) {
        EXPECT_TRUE(absl::Base64Unescape(message->substr(1), &bytes));
      }
      channels[(*message)[0] - (base64 ? '0' : 0)] += bytes;
    }
    return channels;
  }
  int close_code() { return socket_.reason().code; }
  websocket::stream<asio::ip::tcp::socket>& socket() { return socket_; }
  int fd() { return socket_.next_layer().native_handle(); }

  boost::system::error_code error;
  std::string chosen;

 private:
  asio::io_context io_;
  websocket::stream<asio::ip::tcp::socket> socket_;
};

class WebSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);
    SessionsSeen();
    auto server = Server::Start({}, NoBackend());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = std::move(*server);
  }
  void TearDown() override {
    server_.reset();
    EXPECT_EQ(LiveSessions(), 0);
  }
  std::string Path(Request request) { return PathOfUrl(*server_->Url(std::move(request))); }
  Client Connect(Request request, const std::string& protocol, const std::string& query = "") {
    return Client(server_->port(), Path(std::move(request)) + query, protocol);
  }
  static ExecRequest Cat() { return {.argv = {"cat"}, .in = true, .out = true}; }
  // What sessions have said, once `last` is said.
  static std::vector<std::string> SessionsUntil(const std::string& last) {
    std::vector<std::string> seen;
    EXPECT_TRUE(Eventually([&] {
      for (auto& one : SessionsSeen()) seen.push_back(one);
      return std::find(seen.begin(), seen.end(), last) != seen.end();
    }));
    return seen;
  }

  std::unique_ptr<Server> server_;
};

TEST_F(WebSocketTest, Version5EndsTheInputAndIsClosedBehindTheStatus) {
  Client client = Connect(Cat(), "v5.channel.k8s.io,v4.channel.k8s.io");
  ASSERT_FALSE(client.error) << client.error.message();
  EXPECT_EQ(client.chosen, "v5.channel.k8s.io");
  EXPECT_EQ(client.Read(), std::string("\1"));  // it is connected
  ASSERT_TRUE(client.SendOn(0, "typed"));
  EXPECT_EQ(client.Read(), "\1typed");
  ASSERT_TRUE(client.Send(absl::string_view("\xff\0", 2)));
  auto rest = client.ReadAll();
  EXPECT_EQ(rest[3], "{\"status\":\"Success\"}");
  EXPECT_EQ(client.close_code(), 1000);
  EXPECT_THAT(SessionsUntil("closed"), ElementsAre("exec json in out", "input ended", "closed"));
}

TEST_F(WebSocketTest, TheOtherProtocolsOfCommands) {
  struct {
    const char* protocol;
    bool base64;
    const char *begun, *status;
  } table[] = {
      {"v4.channel.k8s.io", false, "exec json out", "{\"status\":\"Success\"}"},
      {"v4.base64.channel.k8s.io", true, "exec json out", "{\"status\":\"Success\"}"},
      {"channel.k8s.io", false, "exec text out", "done"},
      {"base64.channel.k8s.io", true, "exec text out", "done"},
      {"", false, "exec text out", "done"},
  };
  for (const auto& row : table) {
    Client client = Connect(ExecRequest{.out = true}, row.protocol);
    ASSERT_FALSE(client.error) << client.error.message();
    EXPECT_EQ(client.chosen, row.protocol);
    auto all = client.ReadAll(row.base64);
    EXPECT_EQ(all[3], row.status) << row.protocol;
    EXPECT_EQ(all.count(1), 1u);  // the empty message
    EXPECT_EQ(client.close_code(), 1000);
    EXPECT_THAT(SessionsSeen(), Contains(row.begun));
  }
}

TEST_F(WebSocketTest, TheFirstMessageIsOnTheFirstChannelThatIsRead) {
  EXPECT_EQ(Connect(ExecRequest{.in = true, .err = true}, "v4.channel.k8s.io").Read(), std::string("\2"));
  EXPECT_EQ(Connect(ExecRequest{.in = true}, "v4.channel.k8s.io").Read(), std::string("\3"));
}

TEST_F(WebSocketTest, Base64BothWays) {
  Client client = Connect(Cat(), "base64.channel.k8s.io");
  EXPECT_EQ(client.Read(), "1");
  ASSERT_TRUE(client.Send("0Zm9vCg==", true));
  EXPECT_EQ(client.Read(), "1Zm9vCg==");
  EXPECT_TRUE(client.socket().got_text());
  ASSERT_TRUE(client.Send("0Zm9v!", true));  // not base64
  EXPECT_FALSE(client.Read());
  EXPECT_EQ(client.close_code(), 1007);
}

// Some clients send text on binary channels.
TEST_F(WebSocketTest, TheTypeOfAMessageDoesNotMatter) {
  Client client = Connect(Cat(), "v4.channel.k8s.io");
  client.Read();
  ASSERT_TRUE(client.Send(absl::string_view("\0text", 5), true));
  EXPECT_EQ(client.Read(), "\1text");
}

TEST_F(WebSocketTest, WhatIsForNoChannelIsDropped) {
  Client client = Connect(Cat(), "v5.channel.k8s.io");
  client.Read();
  for (int channel : {1, 2, 3, 4, 5, 77, 254}) ASSERT_TRUE(client.SendOn(channel, "nobody's"));
  ASSERT_TRUE(client.Send(""));
  ASSERT_TRUE(client.Send(absl::string_view("\xff\1", 2)));
  ASSERT_TRUE(client.Send(absl::string_view("\xff\x63", 2)));
  ASSERT_TRUE(client.SendOn(0, ""));
  ASSERT_TRUE(client.SendOn(0, "ours"));
  EXPECT_EQ(client.Read(), "\1ours");
}

TEST_F(WebSocketTest, ACloseSignalNamesOneChannel) {
  for (const std::string& bad : {std::string("\xff"), std::string("\xff\0\0", 3)}) {
    Client client = Connect(Cat(), "v5.channel.k8s.io");
    client.Read();
    ASSERT_TRUE(client.Send(bad));
    EXPECT_FALSE(client.Read());
    EXPECT_EQ(client.close_code(), 1002);
  }
}

TEST_F(WebSocketTest, ResizesArrive) {
  Client client = Connect(ExecRequest{.tty = true, .in = true, .out = true, .err = true}, "v4.channel.k8s.io");
  client.Read();
  ASSERT_TRUE(client.SendOn(4, "{\"Width\":80}"));
  EXPECT_EQ(client.Read(), "\2{\"Width\":80}");
}

TEST_F(WebSocketTest, PingsAreAnswered) {
  Client client = Connect(Cat(), "v5.channel.k8s.io");
  client.Read();
  std::string pong;
  client.socket().control_callback([&](websocket::frame_type type, boost::beast::string_view text) {
    if (type == websocket::frame_type::pong) pong = std::string(text);
  });
  client.socket().ping("there?");
  ASSERT_TRUE(client.SendOn(0, "x"));
  EXPECT_EQ(client.Read(), "\1x");
  EXPECT_EQ(pong, "there?");
}

TEST_F(WebSocketTest, AMessageMayBeLongAndCut) {
  Client client = Connect(Cat(), "v5.channel.k8s.io");
  client.Read();
  std::string big(5 << 20, '\0');
  for (size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 7 + i / 1000);
  std::thread sender([&] {
    client.socket().auto_fragment(true);
    client.socket().write_buffer_bytes(1000);
    boost::system::error_code ignored;
    client.socket().binary(true);
    client.socket().write(asio::buffer(std::string(1, '\0') + big), ignored);
    client.socket().write(asio::buffer("\xff\0", 2), ignored);
  });
  auto all = client.ReadAll();
  sender.join();
  EXPECT_EQ(all[1].size(), big.size());
  EXPECT_TRUE(all[1] == big);
  EXPECT_EQ(client.close_code(), 1000);
}

TEST_F(WebSocketTest, AnUnmaskedFrameEndsTheConnection) {
  Client client = Connect(Cat(), "v5.channel.k8s.io");
  client.Read();
  ASSERT_TRUE(SendAll(client.fd(), absl::string_view("\x82\x02\0x", 4)));
  EXPECT_FALSE(client.Read());
  EXPECT_EQ(client.close_code(), 1002) << client.error.message();
}

// The older protocols have no other way to end the input: what it feeds may go on to its end.
TEST_F(WebSocketTest, AGoodbyeEndsTheInput) {
  Client client = Connect(Cat(), "v4.channel.k8s.io");
  client.Read();
  ASSERT_TRUE(client.SendOn(0, "last"));
  EXPECT_EQ(client.Read(), "\1last");
  client.socket().close(websocket::close_code::normal, client.error);
  SessionsUntil("input ended");
  EXPECT_TRUE(Eventually([] { return LiveSessions() == 0; }));
}

TEST_F(WebSocketTest, ALostConnectionResetsTheInput) {
  Client client = Connect(Cat(), "v4.channel.k8s.io");
  client.Read();
  client.socket().next_layer().close();
  SessionsUntil("input reset");
  EXPECT_TRUE(Eventually([] { return LiveSessions() == 0; }));
}

TEST_F(WebSocketTest, ForwardsPortsByChannels) {
  Client client = Connect(PortForwardRequest{}, "v4.channel.k8s.io", "?port=80&port=258");
  ASSERT_FALSE(client.error) << client.error.message();
  EXPECT_EQ(client.Read(), std::string("\0\x50\0", 3));
  EXPECT_EQ(client.Read(), std::string("\1\x50\0", 3));
  EXPECT_EQ(client.Read(), std::string("\2\2\1", 3));
  EXPECT_EQ(client.Read(), std::string("\3\2\1", 3));
  ASSERT_TRUE(client.SendOn(2, "to 258"));
  EXPECT_EQ(client.Read(), "\2to 258");
  ASSERT_TRUE(client.SendOn(0, "to 80"));
  EXPECT_EQ(client.Read(), std::string("\0to 80", 6));
  EXPECT_THAT(SessionsSeen(), ElementsAre("forward 80", "forward 258"));
}

TEST_F(WebSocketTest, APortThatFailsTellsItsErrorChannelAndTheLastOneClosesTheConnection) {
  Client client = Connect(PortForwardRequest{.ports = {1}}, "");
  auto all = client.ReadAll();
  EXPECT_EQ(all[1], std::string("\1\0port 1 is refused", 19));
  EXPECT_EQ(client.close_code(), 1000);
}

TEST_F(WebSocketTest, ForwardsPortsInBase64) {
  Client client = Connect(PortForwardRequest{.ports = {80}}, "v4.base64.channel.k8s.io");
  EXPECT_EQ(client.Read(), "0UAA=");
  EXPECT_EQ(client.Read(), "1UAA=");
  ASSERT_TRUE(client.Send("0Zm9v", true));
  EXPECT_EQ(client.Read(), "0Zm9v");
}

TEST_F(WebSocketTest, TunnelsBytes) {
  Client client = Connect(PortForwardRequest{}, "SPDY/3.1+portforward.k8s.io");
  ASSERT_FALSE(client.error) << client.error.message();
  EXPECT_EQ(client.chosen, "SPDY/3.1+portforward.k8s.io");
  std::string sent, received;
  for (int i = 0; i < 100; ++i) sent += std::string(1000 + i * 37, static_cast<char>(i));
  std::thread sender([&] {
    for (size_t at = 0; at < sent.size(); at += 70000) {
      boost::system::error_code ignored;
      client.socket().binary(true);
      client.socket().write(asio::buffer(sent.substr(at, 70000)), ignored);
      client.socket().write(asio::buffer("", 0), ignored);
    }
  });
  while (received.size() < sent.size()) {
    auto message = client.Read();
    if (!message) break;
    received += *message;
  }
  sender.join();
  EXPECT_TRUE(received == sent);
  EXPECT_THAT(SessionsSeen(), ElementsAre("spdy portforward.k8s.io"));
  client.socket().close(websocket::close_code::normal, client.error);
  EXPECT_FALSE(client.error) << client.error.message();
  EXPECT_TRUE(Eventually([] { return LiveSessions() == 0; }));
}

TEST_F(WebSocketTest, AnUnknownProtocolIsRefusedAndSpendsNothing) {
  const std::string path = Path(Cat());
  EXPECT_TRUE(Client(server_->port(), path, "v9.channel.k8s.io").error);
  EXPECT_FALSE(Client(server_->port(), path, "v5.channel.k8s.io").error);
}

// A client that sends and does not read holds up itself alone, and only so much is kept for it.
TEST_F(WebSocketTest, AClientThatDoesNotReadIsHeldUp) {
  Client client = Connect(Cat(), "v5.channel.k8s.io");
  client.Read();
  // A frame of 65536 bytes for stdin, masked with zeros; one more byte for the channel.
  const std::string frame = std::string("\x82\xff\0\0\0\0\0\1\0\1\0\0\0\0\0", 15) + std::string(65536, 'x');
  constexpr size_t kAll = 100 << 20;
  size_t sent = 0;
  pollfd room = {client.fd(), POLLOUT, 0};
  while (sent < kAll && poll(&room, 1, 500) > 0) {
    const size_t from = sent % frame.size();
    const ssize_t n = send(client.fd(), frame.data() + from, frame.size() - from, MSG_DONTWAIT);
    if (n > 0) sent += static_cast<size_t>(n);
  }
  EXPECT_LT(sent, kAll);
  Client other = Connect(Cat(), "v5.channel.k8s.io");
  EXPECT_TRUE(other.Read());
  // The server's end ends it all the same (TearDown).
}

TEST_F(WebSocketTest, CutConnectionsLeaveNothing) {
  const int before = OpenSockets();
  const std::string handshake =
      "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n";
  // A message to stdin, the close signal, the goodbye; masked with zeros.
  const std::string frames("\x82\x85\0\0\0\0\0abcd\x82\x82\0\0\0\0\xff\0\x88\x82\0\0\0\0\x03\xe8", 27);
  for (size_t i = 0; i < 200; ++i) {
    const std::string all = Get(Path(Cat()), handshake) + frames;
    const size_t from = all.size() - 150;  // most cuts are in the frames
    const sys::UniqueFd fd = ConnectTcp(server_->port());
    ASSERT_TRUE(SendAll(fd.get(), absl::string_view(all).substr(0, from + i * 150 / 199)));

    if (i % 3 == 0) {  // a reset instead of an end
      const linger now = {1, 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
  }
  EXPECT_TRUE(Eventually([&] { return OpenSockets() == before; })) << OpenSockets() << " != " << before;
  EXPECT_EQ(LiveSessions(), 0);
}

}  // namespace
}  // namespace berth::streaming
