// Two sessions wired to each other, and the bytes of Kubernetes' clients.
#include "cri/streaming/spdy/session.h"

#include <gmock/gmock.h>

#include "absl/strings/escaping.h"
#include "cri/streaming/spdy/test_peer.h"

namespace berth::streaming::spdy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SessionTest : public ::testing::Test {
 protected:
  SessionTest() { Exchange(); }

  // What both have to say, and `data` of the client's, in as many rounds as it takes.
  void Exchange(const std::string& from_client = "", const std::string& from_server = "") {
    std::string to_server = client.session.TakeOutput() + from_client;
    std::string to_client = server.session.TakeOutput() + from_server;
    while (!to_server.empty() || !to_client.empty()) {
      EXPECT_EQ(server.session.Receive(to_server), absl::OkStatus());
      EXPECT_EQ(client.session.Receive(to_client), absl::OkStatus());
      to_server = client.session.TakeOutput();
      to_client = server.session.TakeOutput();
    }
  }
  StreamId Open(const Headers& headers = {}, bool fin = false) {
    const StreamId id = client.session.Open(headers, fin).value();
    Exchange();
    server.log.clear();
    client.log.clear();
    return id;
  }

  TestPeer client{Session::Role::kClient}, server{Session::Role::kServer};
};

TEST_F(SessionTest, AStreamsLife) {
  EXPECT_EQ(client.session.Open({{"streamtype", "stdin"}, {"many", std::string("a\0b", 3)}}, false).value(), 1u);
  EXPECT_EQ(client.session.SendWindow(1), 0u) << "before the reply";
  Exchange();
  EXPECT_THAT(server.TakeLog(), ElementsAre("stream 1 streamtype=stdin many=a|b"));
  EXPECT_THAT(client.TakeLog(), ElementsAre("reply 1"));
  EXPECT_EQ(client.session.open_streams(), 1u);
  EXPECT_EQ(server.session.open_streams(), 1u);
  Exchange(client.Data(1, "hello") + client.Data(1, "") + client.Data(1, "world", true), server.Data(1, "and you"));
  EXPECT_THAT(server.TakeLog(), ElementsAre("data 1 hello", "data 1 world fin"));
  EXPECT_THAT(client.TakeLog(), ElementsAre("data 1 and you"));
  EXPECT_EQ(client.session.SendWindow(1), 0u) << "we have ended it";
  EXPECT_GT(server.session.SendWindow(1), 0u);
  Exchange("", server.Data(1, "", true));
  EXPECT_THAT(client.TakeLog(), ElementsAre("data 1  fin"));
  EXPECT_EQ(client.session.open_streams(), 0u);
  EXPECT_EQ(server.session.open_streams(), 0u);
  EXPECT_EQ(client.session.Open({}, false).value(), 3u);
  EXPECT_EQ(server.session.Open({}, false).value(), 2u);
}

TEST_F(SessionTest, StreamsOfTheServer) {
  EXPECT_EQ(server.session.Open({{"a", "b"}}, false).value(), 2u);
  Exchange();
  EXPECT_THAT(client.TakeLog(), ElementsAre("stream 2 a=b"));
  EXPECT_THAT(server.TakeLog(), ElementsAre("reply 2"));
  Exchange(client.Data(2, "x", true), server.Data(2, "y", true));
  EXPECT_EQ(client.session.open_streams() + server.session.open_streams(), 0u);
}

TEST_F(SessionTest, EndsWithTheFirstFrame) {
  server.replies = false;
  ASSERT_TRUE(client.session.Open({}, true).ok());
  Exchange();
  EXPECT_THAT(server.TakeLog(), ElementsAre("stream 1 fin"));
  server.session.Reply(1, {{"a", "b"}}, true);
  EXPECT_EQ(server.session.open_streams(), 0u);
  Exchange();
  EXPECT_THAT(client.TakeLog(), ElementsAre("reply 1 a=b fin"));
  EXPECT_EQ(client.session.open_streams(), 0u);
}

TEST_F(SessionTest, RepliesOnlyOnceAndOnlyToThePeersStreams) {
  Open();
  client.session.Reply(1, {}, false);
  server.session.Reply(1, {}, false);
  server.session.Reply(99, {}, false);
  EXPECT_FALSE(client.session.has_output());
  EXPECT_FALSE(server.session.has_output());
}

TEST_F(SessionTest, ResetsBothWays) {
  Open();
  Open();
  client.session.Reset(1, RstStatus::kCancel);
  server.session.Reset(3, RstStatus::kInternalError);
  server.session.Reset(99, RstStatus::kCancel);
  Exchange();
  EXPECT_THAT(server.TakeLog(), ElementsAre("reset 1 5"));
  EXPECT_THAT(client.TakeLog(), ElementsAre("reset 3 6"));
  EXPECT_EQ(client.session.open_streams() + server.session.open_streams(), 0u);
}

TEST_F(SessionTest, PingsHaveTheirOwnersParity) {
  EXPECT_EQ(client.session.Ping(), 1u);
  EXPECT_EQ(client.session.Ping(), 3u);
  EXPECT_EQ(server.session.Ping(), 2u);
  Exchange();
  EXPECT_THAT(client.TakeLog(), ElementsAre("pong 1", "pong 3"));
  EXPECT_THAT(server.TakeLog(), ElementsAre("pong 2"));
}

TEST_F(SessionTest, AfterGoAwayNoStreamsButThoseThatAre) {
  Open();
  server.session.GoAway(GoAwayStatus::kOk);
  server.session.GoAway(GoAwayStatus::kOk);
  ASSERT_EQ(client.session.Open({{"crosses", "it"}}, false).value(), 3u);
  const std::string crossing = client.session.TakeOutput() + client.Data(3, "lost");
  Exchange();
  EXPECT_THAT(client.TakeLog(), ElementsAre("reset 3 3", "goaway 0"));
  EXPECT_TRUE(absl::IsFailedPrecondition(client.session.Open({}, false).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(server.session.Open({}, false).status()));
  EXPECT_EQ(server.session.Receive(crossing), absl::OkStatus());
  EXPECT_EQ(server.session.TakeOutput(), "");
  EXPECT_THAT(server.TakeLog(), IsEmpty());
  Exchange(client.Data(1, "goes on", true), server.Data(1, "", true));
  EXPECT_THAT(server.TakeLog(), ElementsAre("data 1 goes on fin"));
  EXPECT_EQ(client.session.open_streams() + server.session.open_streams(), 0u);
}

TEST_F(SessionTest, TheHandlerMayEndStreamsWithinItsCalls) {
  struct Abrupt : TestPeer {
    using TestPeer::TestPeer;
    void OnStream(StreamId id, const Headers&, bool) override { session.Reset(id, RstStatus::kCancel); }
    void OnReply(StreamId id, const Headers&, bool) override { session.Reset(id, RstStatus::kCancel); }
    void OnData(StreamId id, absl::string_view, bool) override { session.Reset(id, RstStatus::kCancel); }
  } abrupt{Session::Role::kServer};
  TestPeer peer(Session::Role::kClient);
  ASSERT_TRUE(peer.session.Open({}, true).ok());
  ASSERT_TRUE(abrupt.session.Receive(peer.session.TakeOutput()).ok());
  ASSERT_TRUE(abrupt.session.Open({}, false).ok());
  ASSERT_TRUE(peer.session.Receive(abrupt.session.TakeOutput()).ok());
  EXPECT_THAT(peer.TakeLog(), ElementsAre("reset 1 5", "stream 2"));
  ASSERT_TRUE(abrupt.session.Receive(peer.session.TakeOutput() + peer.Data(2, "x", true)).ok());
  EXPECT_EQ(abrupt.session.open_streams(), 0u);
}

// What spdystream says: three streams, data for one of them, a ping, and its end.
std::string Recorded() {
  return absl::HexStringToBytes(
      "80030001000000290000000100000000000078f9e3c6a7c26260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff"
      "800300010000001700000003000000000000c22e555c92929907000000ffff"
      "80030001010000220000000500000003a000824ab155e8e626e655828bf4bc548692f27c00000000ffff"
      "000000030000000568656c6c6f"
      "0000000301000000"
      "800300060000000400000001"
      "80030003000000080000000100000005"
      "80030007000000080000000000000000");
}

TEST(RecordedTest, IsReadHoweverItIsCut) {
  const std::string bytes = Recorded();
  for (size_t step = 1; step <= bytes.size(); ++step) {
    TestPeer server(Session::Role::kServer);
    for (size_t at = 0; at < bytes.size(); at += step) {
      ASSERT_EQ(server.session.Receive(absl::string_view(bytes).substr(at, step)), absl::OkStatus());
    }
    EXPECT_EQ(server.received[3], "hello");
    std::erase_if(server.log,
                  [](const std::string& line) { return line.starts_with("data") && !line.ends_with("fin"); });
    EXPECT_THAT(server.log, ElementsAre("stream 1 streamtype=error", "stream 3 streamtype=stdin",
                                        "stream 5 x-many=one|two fin", "data 3  fin", "reset 1 5", "goaway 0"));
    EXPECT_EQ(absl::BytesToHexString(server.session.TakeOutput()),
              "800300040000001400000002"
              "00000004000003e8"
              "0000000700040000"  // streams, window
              "8003000900000008"
              "00000000000f0000"  // the session's window
              "8003000200000018"
              "00000001"
              "7820e3c6a7c2000400fbff00000000000000ffff"
              "8003000200000012"
              "00000003"
              "000400fbff00000000000000ffff"
              "8003000200000012"
              "00000005"
              "000400fbff00000000000000ffff"
              "800300060000000400000001");
  }
}

}  // namespace
}  // namespace berth::streaming::spdy
