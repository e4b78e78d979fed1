#include "cri/streaming/spdy/session.h"

#include <gtest/gtest.h>

namespace berth::streaming::spdy {
namespace {

struct Peer : Events {
  Session session;
  explicit Peer(Session::Role role) : session(role, {}, *this) {}
  std::string log;
  void OnStream(StreamId id, const Headers& h, bool fin) override {
    absl::StrAppend(&log, "stream ", id, " ", h.size(), fin, ";");
    session.Reply(id, {}, false);
  }
  void OnReply(StreamId id, const Headers&, bool fin) override { absl::StrAppend(&log, "reply ", id, fin, ";"); }
  void OnHeaders(StreamId id, const Headers&, bool fin) override { absl::StrAppend(&log, "headers ", id, fin, ";"); }
  void OnData(StreamId id, absl::string_view b, bool fin) override { absl::StrAppend(&log, "data ", id, b, fin, ";"); }
  void OnReset(StreamId id, RstStatus s) override { absl::StrAppend(&log, "reset ", id, int(s), ";"); }
  void OnWindow(StreamId id) override { absl::StrAppend(&log, "window ", id, ";"); }
  void OnPong(uint32_t id) override { absl::StrAppend(&log, "pong ", id, ";"); }
  void OnGoAway(GoAwayStatus s) override { absl::StrAppend(&log, "goaway ", int(s), ";"); }
};

TEST(Session, Simple) {
  Peer c(Session::Role::kClient), s(Session::Role::kServer);
  auto flow = [](Peer& a, Peer& b, std::string more = "") {
    auto o = a.session.TakeOutput() + more;
    EXPECT_TRUE(b.session.Receive(o).ok());
  };
  flow(c, s); flow(s, c);
  auto id = *c.session.Open({{"a", "b"}}, false);
  flow(c, s); flow(s, c);
  auto h = c.session.Data(id, 2, true);
  flow(c, s, std::string(h.data(), 8) + "hi");
  h = s.session.Data(id, 0, true);
  flow(s, c, std::string(h.data(), 8));
  c.session.Ping(); c.session.GoAway(GoAwayStatus::kOk);
  flow(c, s); flow(s, c);
  EXPECT_EQ(c.log, "reply 10;window 1;data 11;pong 1;");
  EXPECT_EQ(s.log, "stream 1 10;data 1hi1;goaway 0;");
  EXPECT_EQ(c.session.open_streams(), 0u);
  EXPECT_EQ(s.session.open_streams(), 0u);
}
}  // namespace
}  // namespace berth::streaming::spdy
