// What a peer may not do, and what comes of it.
#include <gmock/gmock.h>

#include "cri/streaming/spdy/frame.h"
#include "cri/streaming/spdy/header_block.h"
#include "cri/streaming/spdy/session.h"
#include "cri/streaming/spdy/test_peer.h"

namespace berth::streaming::spdy {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Frame(void (*append)(std::string&, const RstStream&), RstStream frame) {
  std::string out;
  append(out, frame);
  return out;
}
std::string Rst(StreamId id, RstStatus status) { return Frame(AppendRstStream, {.stream = id, .status = status}); }
std::string GoAway(StreamId last_good, GoAwayStatus status) {
  std::string out;
  AppendGoAway(out, {.last_good = last_good, .status = status});
  return out;
}
std::string Ping(uint32_t id) {
  std::string out;
  AppendPing(out, id);
  return out;
}
std::string Data(StreamId id, absl::string_view bytes, bool fin = false) {
  const auto header = DataHeader(id, static_cast<uint32_t>(bytes.size()), fin);
  return absl::StrCat(absl::string_view(header.data(), header.size()), bytes);
}

// A client that says what it likes, to a server of ours; or the other way round.
class LimitsTest : public ::testing::Test {
 protected:
  explicit LimitsTest(Session::Role role = Session::Role::kServer) : our_role_(role) { Restart({}); }
  void Restart(Limits limits) {
    us = std::make_unique<TestPeer>(our_role_, limits);
    us->session.TakeOutput();
    deflater_ = HeaderDeflater();
  }

  std::string Syn(StreamId id, const Headers& headers = {}, uint8_t flags = 0) {
    std::string out;
    AppendSynStream(out, {.stream = id, .headers = deflater_.Deflate(FormatHeaders(headers))}, flags);
    return out;
  }
  std::string OfStream(FrameType type, StreamId id, const Headers& headers = {}, uint8_t flags = 0) {
    std::string out;
    AppendStreamHeaders(out, type, {.stream = id, .headers = deflater_.Deflate(FormatHeaders(headers))}, flags);
    return out;
  }
  // Frames, made in this order. What is answered.
  std::string Say(std::initializer_list<std::string> frames) {
    for (const std::string& frame : frames) EXPECT_EQ(us->session.Receive(frame), absl::OkStatus());
    return us->session.TakeOutput();
  }
  // Says what ends the session, and gives the error.
  std::string Die(std::initializer_list<std::string> frames, StreamId last_good = 0) {
    us->session.TakeOutput();
    absl::Status status;
    for (const std::string& frame : frames) {
      EXPECT_EQ(status, absl::OkStatus()) << "not by the last frame";
      status = us->session.Receive(frame);
    }
    EXPECT_FALSE(status.ok());
    const std::string output = us->session.TakeOutput();
    const std::string goaway = GoAway(last_good, GoAwayStatus::kProtocolError);
    EXPECT_EQ(output.substr(output.size() - std::min(output.size(), goaway.size())), goaway);
    EXPECT_EQ(us->session.Receive(Ping(1)), status);
    EXPECT_FALSE(us->session.has_output());
    return std::string(status.message());
  }

  std::unique_ptr<TestPeer> us;

 private:
  const Session::Role our_role_;
  HeaderDeflater deflater_;
};
class LimitsOfClientTest : public LimitsTest {
 protected:
  LimitsOfClientTest() : LimitsTest(Session::Role::kClient) {}
};

TEST_F(LimitsTest, StreamsBeyondTheLimitAreRefused) {
  Restart({.streams = 2});
  Say({Syn(1), Syn(3)});
  EXPECT_EQ(Say({Syn(5, {{"a", "b"}})}), Rst(5, RstStatus::kRefusedStream));
  EXPECT_EQ(Say({Data(5, "in flight"), Data(5, "", true)}), "");
  EXPECT_THAT(us->TakeLog(), ElementsAre("stream 1", "stream 3"));
  Say({Rst(1, RstStatus::kCancel), Syn(7, {{"c", "d"}})});
  EXPECT_THAT(us->TakeLog(), ElementsAre("reset 1 5", "stream 7 c=d"));
  EXPECT_TRUE(us->session.Open({}, false).ok()) << "the limit is the peer's";
}

TEST_F(LimitsTest, StreamIdsHaveParityAndGrow) {
  EXPECT_THAT(Die({Syn(2)}), HasSubstr("stream 2"));
  Restart({});
  EXPECT_THAT(Die({Syn(0)}), HasSubstr("stream 0"));
  Restart({});
  EXPECT_THAT(Die({Syn(5), Syn(3)}, 5), HasSubstr("3 came after 5"));
  Restart({});
  Say({Syn(5)});
  EXPECT_EQ(Say({Syn(5)}), Rst(5, RstStatus::kProtocolError));
  EXPECT_THAT(us->TakeLog(), ElementsAre("stream 5", "reset 5 1"));
}

TEST_F(LimitsTest, BadHeadersEndTheirStreamAlone) {
  EXPECT_EQ(Say({Syn(1, {{"Upper", "x"}})}), Rst(1, RstStatus::kProtocolError));
  EXPECT_EQ(Say({Syn(3, {{"a", "1"}, {"a", "2"}})}), Rst(3, RstStatus::kProtocolError));
  Headers many;
  for (int i = 0; i < 65; ++i) many.emplace_back(absl::StrCat("n", i), "v");
  EXPECT_EQ(Say({Syn(5, many)}), Rst(5, RstStatus::kFrameTooLarge));
  many.pop_back();
  Say({Syn(7, many)});
  EXPECT_EQ(us->TakeLog().size(), 1u);
  EXPECT_EQ(Say({OfStream(FrameType::kHeaders, 7, {{"", "x"}})}), Rst(7, RstStatus::kProtocolError));
  EXPECT_THAT(us->TakeLog(), ElementsAre("reset 7 1"));
}

TEST_F(LimitsTest, BlocksThatCannotBeReadEndTheSession) {
  EXPECT_THAT(Die({Syn(1, {{"a", std::string(16 * 1024, 'x')}})}), HasSubstr("over 16384 bytes"));
  Restart({});
  std::string frame;
  AppendSynStream(frame, {.stream = 1, .headers = "no zlib"}, 0);
  EXPECT_THAT(Die({frame}), HasSubstr("stream 1: "));
  Restart({});
  frame.clear();
  AppendSynStream(frame, {.stream = 1, .headers = HeaderDeflater().Deflate(FormatHeaders({}) + "x")}, 0);
  EXPECT_THAT(Die({frame}), HasSubstr("bytes follow"));
}

TEST_F(LimitsTest, FramesThatCannotBeReadEndTheSession) {
  EXPECT_THAT(Die({std::string("\x80\x02\0\6\0\0\0\4", 8)}), HasSubstr("version 2"));
  Restart({});
  EXPECT_THAT(Die({std::string("\x80\x03\0\4\0\x01\0\0", 8)}), HasSubstr("65536 bytes"));
  for (const char type : {1, 2, 3, 4, 6, 7, 8, 9}) {
    Restart({});
    EXPECT_THAT(Die({std::string({'\x80', 3, 0, type, 0, 0, 0, 3, 0, 0, 0})}), HasSubstr("3 bytes"));
  }
  Restart({});
  EXPECT_THAT(Die({Data(0, "x")}), HasSubstr("stream 0"));
  Restart({});
  EXPECT_THAT(Die({OfStream(FrameType::kHeaders, 0)}), HasSubstr("stream 0")) << "which cannot be reset";
}

TEST_F(LimitsTest, FramesForStreamsThatAreNotThere) {
  EXPECT_EQ(Say({Data(1, "x")}), Rst(1, RstStatus::kInvalidStream));
  EXPECT_EQ(Say({Data(1, "more")}), "") << "one answer is enough";
  EXPECT_EQ(Say({OfStream(FrameType::kHeaders, 3)}), Rst(3, RstStatus::kInvalidStream));
  EXPECT_EQ(Say({OfStream(FrameType::kSynReply, 2)}), Rst(2, RstStatus::kInvalidStream));
  EXPECT_EQ(Say({Rst(9, RstStatus::kCancel)}), "") << "a reset is never answered";
  EXPECT_THAT(us->TakeLog(), IsEmpty());
  Say({Syn(1)});
  EXPECT_EQ(Say({Data(1, "x")}), "");
  EXPECT_THAT(us->TakeLog(), ElementsAre("stream 1", "data 1 x")) << "what came too early does not count any more";
}

TEST_F(LimitsTest, FramesForStreamsThatHaveEnded) {
  Say({Syn(1)});
  Say({Data(1, "x", true)});
  us->TakeLog();
  EXPECT_EQ(Say({Data(1, "y")}), Rst(1, RstStatus::kStreamAlreadyClosed)) << "half-closed";
  EXPECT_THAT(us->TakeLog(), ElementsAre("reset 1 9"));
  Say({Syn(3, {}, kFin)});
  us->session.Data(3, 0, true);
  EXPECT_EQ(us->session.open_streams(), 0u);
  EXPECT_EQ(Say({OfStream(FrameType::kHeaders, 3)}), Rst(3, RstStatus::kStreamAlreadyClosed)) << "closed";
  Say({Syn(5)});
  us->TakeLog();
  us->session.Reset(5, RstStatus::kCancel);
  EXPECT_EQ(Say({Data(5, "in flight"), OfStream(FrameType::kHeaders, 5), Data(5, "", true)}),
            Rst(5, RstStatus::kCancel));
  EXPECT_EQ(Say({Data(5, "after its end")}), Rst(5, RstStatus::kStreamAlreadyClosed));
  EXPECT_THAT(us->TakeLog(), IsEmpty());
}

TEST_F(LimitsTest, AFrameIsDroppedFromWhereItsStreamEnds) {
  Say({Syn(1)});
  const std::string frame = Data(1, "abcdef", true);
  Say({frame.substr(0, frame.size() - 3)});
  us->session.Reset(1, RstStatus::kCancel);
  EXPECT_EQ(Say({frame.substr(frame.size() - 3)}), Rst(1, RstStatus::kCancel));
  EXPECT_EQ(us->received[1], "abc");
}

TEST_F(LimitsTest, ManyResetStreamsAreForgottenInTheEnd) {
  for (StreamId id = 1; id < 4000; id += 2) {
    Say({Syn(id)});
    us->session.Reset(id, RstStatus::kCancel);
    us->session.TakeOutput();
  }
  EXPECT_EQ(Say({Data(3999, "late")}), "");
  EXPECT_EQ(Say({Data(1, "very late")}), Rst(1, RstStatus::kStreamAlreadyClosed));
}

TEST_F(LimitsTest, AUnidirectionalStreamIsNotSentOn) {
  us->replies = true;
  EXPECT_EQ(Say({Syn(1, {}, kUnidirectional)}), "");
  EXPECT_EQ(us->session.SendWindow(1), 0u);
  EXPECT_EQ(Say({Data(1, "x", true)}), "");
  EXPECT_EQ(us->session.open_streams(), 0u);
  Say({Syn(3, {}, kUnidirectional | kFin)});
  EXPECT_EQ(us->session.open_streams(), 0u);
}

TEST_F(LimitsOfClientTest, TheServersStreamsAreEven) {
  EXPECT_THAT(Die({Syn(0)}), HasSubstr("stream 0"));
  Restart({});
  EXPECT_THAT(Die({Syn(1)}), HasSubstr("stream 1"));
}

TEST_F(LimitsOfClientTest, RepliesComeOnceAndFirst) {
  ASSERT_EQ(us->session.Open({}, false).value(), 1u);
  ASSERT_EQ(us->session.Open({}, false).value(), 3u);
  ASSERT_EQ(us->session.Open({}, false).value(), 5u);
  us->session.TakeOutput();
  EXPECT_EQ(Say({Data(1, "too early")}), Rst(1, RstStatus::kProtocolError));
  EXPECT_EQ(Say({OfStream(FrameType::kHeaders, 3)}), Rst(3, RstStatus::kProtocolError));
  EXPECT_EQ(Say({OfStream(FrameType::kSynReply, 5)}), "");
  EXPECT_EQ(Say({OfStream(FrameType::kSynReply, 5)}), Rst(5, RstStatus::kStreamInUse));
  EXPECT_THAT(us->TakeLog(), ElementsAre("reset 1 1", "reset 3 1", "reply 5", "reset 5 8"));
  Say({Syn(2)});
  EXPECT_EQ(Say({OfStream(FrameType::kSynReply, 2)}), Rst(2, RstStatus::kProtocolError)) << "to a stream of its own";
}

TEST_F(LimitsOfClientTest, FramesForStreamsOfOursThatHaveEnded) {
  ASSERT_EQ(us->session.Open({}, true).value(), 1u);
  us->session.TakeOutput();
  EXPECT_EQ(Say({OfStream(FrameType::kSynReply, 1, {}, kFin)}), "");
  EXPECT_EQ(us->session.open_streams(), 0u);
  EXPECT_EQ(Say({Data(1, "x")}), Rst(1, RstStatus::kStreamAlreadyClosed));
  EXPECT_EQ(Say({Data(3, "x")}), Rst(3, RstStatus::kInvalidStream)) << "not opened yet";
}

TEST_F(LimitsOfClientTest, OpensNoMoreThanThePeerTakes) {
  std::string settings;
  AppendSettings(settings, {{.id = kMaxConcurrentStreams, .value = 1}, {.id = kMaxConcurrentStreams, .value = 9}});
  Say({settings});
  EXPECT_TRUE(us->session.Open({}, false).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(us->session.Open({}, false).status()));
  Say({Rst(1, RstStatus::kRefusedStream)});
  EXPECT_TRUE(us->session.Open({}, false).ok());
}

TEST_F(LimitsTest, PingsOfThePeerAreAnsweredAndNoOthers) {
  EXPECT_EQ(Say({Ping(7)}), Ping(7));
  EXPECT_EQ(Say({Ping(2)}), "") << "we have not sent it";
  EXPECT_EQ(us->session.Ping(), 2u);
  us->session.TakeOutput();
  EXPECT_EQ(Say({Ping(2), Ping(2)}), "");
  EXPECT_THAT(us->TakeLog(), ElementsAre("pong 2"));
}

TEST_F(LimitsTest, AnswersThatThePeerDoesNotReadAreBounded) {
  Restart({.pending_control = 1200});
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(Say({Ping(1)}).size(), 12u);
  std::string flood;
  for (int i = 0; i < 100; ++i) flood += Ping(1);
  ASSERT_EQ(us->session.Receive(flood), absl::OkStatus());
  EXPECT_FALSE(us->session.Receive(Ping(1)).ok());
  EXPECT_EQ(us->session.TakeOutput().size(), 101 * Ping(1).size() + GoAway(0, GoAwayStatus::kProtocolError).size());

  Restart({.pending_control = 1200});
  for (StreamId id = 1; us->session.Receive(Data(id, "")).ok(); id += 2) ASSERT_LT(id, 200u);

  Restart({.pending_control = 1200});
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(us->session.Open({{"a", "b"}}, false).ok());
  EXPECT_TRUE(us->session.Receive(Ping(1)).ok()) << "what we say of our own does not count";
}

TEST_F(LimitsTest, StreamsThatAreResetBeforeTheyGotAnythingAreBounded) {
  Restart({.futile_streams = 10});
  StreamId id = 1;
  const auto futile = [&] { return Syn(id) + Rst(id, RstStatus::kCancel); };
  for (int i = 0; i < 100; ++i, id += 2) {
    Say({Syn(id)});
    us->session.Data(id, 1, false);
    Say({Rst(id, RstStatus::kCancel)});
  }
  for (int i = 0; i < 10; ++i, id += 2) Say({futile()});
  // One that ends well makes up for another.
  Say({Syn(id, {}, kFin)});
  us->session.Data(id, 0, true);
  id += 2;
  Say({futile()});
  id += 2;
  EXPECT_THAT(Die({futile()}, id), HasSubstr("only to reset them"));
}

TEST_F(LimitsTest, TypesThatNobodyKnowsArePassedOver) {
  EXPECT_EQ(Say({std::string("\x80\x03\0\x0a\xff\x01\0\0", 8), std::string(65536, 'x'), Ping(1)}), Ping(1));
}

TEST_F(LimitsTest, GoAwayNamesTheLastStreamThatWasTaken) {
  Restart({.streams = 1});
  Say({Syn(1), Syn(3)});
  us->session.GoAway(GoAwayStatus::kInternalError);
  EXPECT_EQ(us->session.TakeOutput(), GoAway(1, GoAwayStatus::kInternalError));
  EXPECT_THAT(us->TakeLog(), ElementsAre("stream 1"));
  Say({GoAway(0, GoAwayStatus::kInternalError)});
  EXPECT_THAT(us->TakeLog(), ElementsAre("goaway 2"));
}

}  // namespace
}  // namespace berth::streaming::spdy
