// Windows, with a peer that keeps them (a session of ours) and with one that does not.
#include <gmock/gmock.h>

#include <random>

#include "cri/streaming/spdy/frame.h"
#include "cri/streaming/spdy/header_block.h"
#include "cri/streaming/spdy/session.h"
#include "cri/streaming/spdy/test_peer.h"
#include "cri/streaming/spdy/windows.h"

namespace berth::streaming::spdy {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr size_t kKi = 1024;

std::string Settings(uint32_t window) {
  std::string out;
  AppendSettings(out, {{.id = kInitialWindow, .value = window}});
  return out;
}
std::string Update(StreamId id, uint32_t delta) {
  std::string out;
  AppendWindowUpdate(out, {.stream = id, .delta = delta});
  return out;
}
std::string Rst(StreamId id, RstStatus status) {
  std::string out;
  AppendRstStream(out, {.stream = id, .status = status});
  return out;
}
std::string Data(StreamId id, size_t bytes) {
  const auto header = DataHeader(id, static_cast<uint32_t>(bytes), false);
  return absl::StrCat(absl::string_view(header.data(), header.size()), std::string(bytes, 'x'));
}

TEST(WindowsTest, OpensAgainByHalves) {
  ReceivingWindow window(100);
  window.Received(80);
  EXPECT_EQ(window.left(), 20);
  EXPECT_EQ(window.Consumed(49), 49u);
  EXPECT_FALSE(window.due());
  EXPECT_EQ(window.Consumed(100), 31u) << "no more than was received";
  EXPECT_TRUE(window.due());
  EXPECT_EQ(window.Update(), 80u);
  EXPECT_EQ(window.left(), 100);
  EXPECT_FALSE(window.due());
}

// A server of ours with streams 1 and 3 that are replied to.
class FlowTest : public ::testing::Test {
 protected:
  FlowTest() {
    us.logs_windows = true;
    for (const StreamId id : {1, 3}) {
      std::string syn;
      AppendSynStream(syn, {.stream = id, .headers = deflater_.Deflate(FormatHeaders({}))}, 0);
      EXPECT_TRUE(us.session.Receive(syn).ok());
    }
    us.session.TakeOutput();
    us.log.clear();
  }
  std::string Say(const std::string& bytes) {
    EXPECT_EQ(us.session.Receive(bytes), absl::OkStatus());
    return us.session.TakeOutput();
  }

  TestPeer us{Session::Role::kServer};

 private:
  HeaderDeflater deflater_;
};

TEST_F(FlowTest, APeerThatShowsNoWindowsIsNotBoundAndDoesNotBind) {
  us.consumes = false;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(us.session.SendWindow(1), size_t{kMaxLength});
    us.session.Data(1, kMaxLength, false);
    Say(Data(3, 64 * kKi));
  }
  EXPECT_EQ(us.received[3].size(), 6400 * kKi);
}

TEST_F(FlowTest, APeersWindowsBindOnceItHasShownThem) {
  us.session.Data(1, 10 * kKi, false);
  us.session.Data(3, 50 * kKi, false);
  Say(Update(1, 1));
  EXPECT_EQ(us.session.SendWindow(1), 4 * kKi) << "what the session has left";
  EXPECT_EQ(us.session.SendWindow(3), 4 * kKi);
  Say(Update(0, 1 << 20));
  EXPECT_EQ(us.session.SendWindow(1), 54 * kKi + 1);
  EXPECT_EQ(us.session.SendWindow(3), 14 * kKi);
}

TEST_F(FlowTest, SettingsBindToo) {
  Say(Settings(20));
  EXPECT_EQ(us.session.SendWindow(1), 20u);
  us.session.Data(1, 20, false);
  EXPECT_EQ(us.session.SendWindow(1), 0u);
  EXPECT_THAT(us.TakeLog(), IsEmpty());
  Say(Update(1, 5));
  EXPECT_EQ(us.session.SendWindow(1), 5u);
  EXPECT_THAT(us.TakeLog(), ElementsAre("window 1"));
  us.session.Data(1, 0, true);
  Say(Update(1, 5));
  EXPECT_THAT(us.TakeLog(), IsEmpty()) << "we have ended it";
}

TEST_F(FlowTest, ANewInitialWindowMovesThoseOfOpenStreams) {
  Say(Settings(100));
  us.session.Data(1, 60, false);
  Say(Settings(50));
  EXPECT_EQ(us.session.SendWindow(1), 0u);
  EXPECT_EQ(us.session.SendWindow(3), 50u);
  Say(Update(1, 15));
  EXPECT_EQ(us.session.SendWindow(1), 5u) << "50 - 60 + 15";
  us.TakeLog();
  Say(Settings(70));
  EXPECT_EQ(us.session.SendWindow(1), 25u);
  EXPECT_THAT(us.TakeLog(), ElementsAre("window 1", "window 3"));
}

TEST_F(FlowTest, TheSessionsWindowWakesAllStreamsThatItHeldBack) {
  Say(Update(1, 1) + Update(3, 1));
  us.session.Data(1, 64 * kKi, false);
  EXPECT_EQ(us.session.SendWindow(3), 0u);
  us.TakeLog();
  Say(Update(0, 10));
  EXPECT_THAT(us.TakeLog(), ElementsAre("window 1", "window 3"));
  EXPECT_EQ(us.session.SendWindow(3), 10u);
  Say(Update(0, 10));
  EXPECT_THAT(us.TakeLog(), IsEmpty()) << "nobody waited";
}

TEST_F(FlowTest, WindowsThatGrowTooFar) {
  EXPECT_EQ(Say(Update(1, kMax31)), Rst(1, RstStatus::kFlowControlError));
  EXPECT_EQ(Say(Update(3, 0)), Rst(3, RstStatus::kProtocolError));
  EXPECT_EQ(Say(Update(5, 1)), "") << "of a stream that is not there (any more)";
  EXPECT_THAT(us.TakeLog(), ElementsAre("reset 1 7", "reset 3 1"));
  EXPECT_FALSE(us.session.Receive(Update(0, kMax31)).ok());
}

TEST_F(FlowTest, TheSessionsWindowDoesNotGrowByNothing) { EXPECT_FALSE(us.session.Receive(Update(0, 0)).ok()); }

TEST_F(FlowTest, AnInitialWindowThatMakesAStreamsTooLargeEndsThatStream) {
  Say(Update(1, 100));
  EXPECT_EQ(Say(Settings(kMax31)), Rst(1, RstStatus::kFlowControlError));
  EXPECT_EQ(us.session.SendWindow(3), 64 * kKi);
  EXPECT_FALSE(us.session.Receive(Settings(kMax31 + 1)).ok());
}

TEST_F(FlowTest, InitialWindowsThatChangeForEverEndTheSession) {
  for (uint32_t i = 1; i <= 100; ++i) Say(Settings(i) + Settings(i));
  EXPECT_FALSE(us.session.Receive(Settings(101)).ok());
}

TEST_F(FlowTest, OurWindowOpensWhenHalfOfItIsConsumed) {
  EXPECT_EQ(Say(Data(1, 100 * kKi)), "");
  EXPECT_EQ(Say(Data(1, 28 * kKi)), Update(1, 128 * kKi));
  EXPECT_FALSE(us.session.has_output());
  // Nobody takes it: it is one frame still. And the session's window opens by its own halves.
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(us.session.Receive(Data(1, 128 * kKi)).ok());
  EXPECT_TRUE(us.session.has_output());
  EXPECT_EQ(us.session.TakeOutput(), Update(1, 12800 * kKi) + Update(0, 12928 * kKi));
}

TEST_F(FlowTest, AGoAwayIsTheLastWord) {
  ASSERT_TRUE(us.session.Receive(Data(1, 128 * kKi)).ok());
  us.session.GoAway(GoAwayStatus::kOk);
  std::string goaway;
  AppendGoAway(goaway, {.last_good = 3, .status = GoAwayStatus::kOk});
  EXPECT_EQ(us.session.TakeOutput(), Update(1, 128 * kKi) + goaway);
}

TEST_F(FlowTest, AStreamThatEndsGivesItsPartOfTheSessionsWindowBack) {
  us.consumes = false;
  Say(Settings(100) + Data(1, 256 * kKi) + Data(3, 256 * kKi));
  EXPECT_FALSE(us.session.has_output());
  us.session.Reset(1, RstStatus::kCancel);
  us.session.Consumed(1, 256 * kKi);
  EXPECT_EQ(Say(Data(1, 256 * kKi)), Update(0, 512 * kKi) + Rst(1, RstStatus::kCancel)) << "so does what is dropped";
}

TEST_F(FlowTest, APeerThatKeepsWindowsIsHeldToOurs) {
  us.consumes = false;
  EXPECT_EQ(Say(Settings(100) + Data(1, 256 * kKi)), "");
  EXPECT_EQ(Say(Data(1, 1)), Rst(1, RstStatus::kFlowControlError));
  EXPECT_EQ(us.TakeLog().back(), "reset 1 7");
  EXPECT_EQ(Say(Data(3, 256 * kKi)), "");
}

TEST(FlowLimitsTest, TheSessionsWindowIsKeptToo) {
  TestPeer us(Session::Role::kServer, {.window = 1 << 20, .session_window = 64 * kKi});
  us.consumes = false;
  std::string syn;
  AppendSynStream(syn, {.stream = 1, .headers = HeaderDeflater().Deflate(FormatHeaders({}))}, 0);
  ASSERT_TRUE(us.session.Receive(syn + Settings(100) + Data(1, 64 * kKi)).ok());
  EXPECT_FALSE(us.session.Receive(Data(1, 1)).ok());
}

}  // namespace
}  // namespace berth::streaming::spdy
