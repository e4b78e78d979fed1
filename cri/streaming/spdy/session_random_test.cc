// Two sessions that do what comes to mind, over wires that deliver what they like, against a model of what must arrive.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "cri/streaming/spdy/session.h"

namespace berth::streaming::spdy {
namespace {

char ByteAt(StreamId id, size_t offset) { return static_cast<char>(id * 31 + offset * 7 + offset / 251); }

class Side : public Events {
 public:
  Side(Session::Role role, const Limits& limits, std::mt19937& random)
      : session(role, limits, *this), next_id_(role == Session::Role::kClient ? 1 : 2), random_(random) {}

  struct Stream {
    size_t sent = 0, received = 0, held = 0;
    bool we_ended = false, peer_ended = false, reset = false;
  };
  Session session;
  Side* other = nullptr;
  std::string wire;  // what we have written and the other has not read
  std::map<StreamId, Stream> streams;

  void OnStream(StreamId id, const Headers& headers, bool fin) override {
    EXPECT_EQ(headers, HeadersOf(id));
    streams[id].peer_ended = fin;
    if (Chance(10)) return Reset(id);
    streams[id].we_ended = Chance(10);
    session.Reply(id, HeadersOf(id), streams[id].we_ended);
  }
  void OnReply(StreamId id, const Headers& headers, bool fin) override {
    EXPECT_EQ(headers, HeadersOf(id));
    streams[id].peer_ended = fin;
  }
  void OnHeaders(StreamId, const Headers&, bool) override { FAIL() << "nobody sends any"; }
  void OnData(StreamId id, absl::string_view bytes, bool fin) override {
    Stream& stream = streams[id];
    ASSERT_FALSE(stream.peer_ended);
    for (const char byte : bytes) ASSERT_EQ(byte, ByteAt(id, stream.received++));
    stream.held += bytes.size();
    stream.peer_ended = fin;
    if (Chance(2)) Consume(id);
    if (Chance(100)) Reset(id);
  }
  void OnReset(StreamId id, RstStatus status) override {
    EXPECT_EQ(status, RstStatus::kCancel) << "of a fault";
    streams[id].reset = true;
  }
  void OnWindow(StreamId) override {}
  void OnPong(uint32_t) override { ++pongs; }
  void OnGoAway(GoAwayStatus) override { FAIL() << "nobody sends one"; }

  void Act() {
    switch (Below(6)) {
      case 0:
        if (session.open_streams() < 20) Open(Chance(10));
        break;
      case 1:
        if (const auto id = Any(); id != 0 && Chance(20)) Reset(id);
        break;
      case 2:
        if (Chance(10)) session.Ping(), ++pings;
        break;
      case 3:
        if (const auto id = Any(); id != 0) Consume(id);
        break;
      default:
        if (const auto id = Any(); id != 0) Send(id, Chance(30));
    }
  }
  StreamId Open(bool fin) {
    EXPECT_EQ(session.Open(HeadersOf(next_id_), fin).value(), next_id_);
    streams[next_id_].we_ended = fin;
    return std::exchange(next_id_, next_id_ + 2);
  }
  void Send(StreamId id, bool fin) {
    Stream& stream = streams[id];
    const size_t window = session.SendWindow(id);
    if (window == 0) return;
    const size_t size = Below(std::min<size_t>(window, 5000) + 1);
    wire += session.TakeOutput();
    const auto header = session.Data(id, size, fin);
    wire.append(header.data(), header.size());
    for (size_t i = 0; i < size; ++i) wire += ByteAt(id, stream.sent++);
    stream.we_ended = fin;
  }
  void Consume(StreamId id) { Consume(id, Below(streams[id].held + 1)); }
  void Consume(StreamId id, size_t size) {
    streams[id].held -= size;
    session.Consumed(id, size);
  }
  // Delivers up to `size` bytes.
  void Deliver(size_t size) {
    wire += session.TakeOutput();
    const std::string piece = wire.substr(0, size);
    wire.erase(0, piece.size());
    ASSERT_EQ(other->session.Receive(piece), absl::OkStatus());
  }
  size_t Below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }
  bool Chance(size_t one_in) { return Below(one_in) == 0; }

  int pings = 0, pongs = 0;

 private:
  static Headers HeadersOf(StreamId id) { return {{"streamtype", "data"}, {"requestid", std::to_string(id)}}; }
  StreamId Any() {
    if (streams.empty()) return 0;
    const auto it = std::prev(streams.end(), 1 + static_cast<ptrdiff_t>(Below(std::min<size_t>(streams.size(), 20))));
    return it->second.reset ? 0 : it->first;
  }
  void Reset(StreamId id) {
    streams[id].reset = true;
    session.Reset(id, RstStatus::kCancel);
  }

  StreamId next_id_;
  std::mt19937& random_;
};

class RandomTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  // Until neither has anything more to say.
  void Settle() {
    while (!client.wire.empty() || !server.wire.empty() || client.session.has_output() || server.session.has_output()) {
      for (Side* side : {&client, &server}) {
        side->Deliver(std::string::npos);
        if (HasFatalFailure()) return;
      }
      for (Side* side : {&client, &server}) {
        for (auto& [id, stream] : side->streams) side->Consume(id, stream.held);
      }
    }
  }
  static Limits LimitsOf(uint32_t seed) {
    constexpr uint32_t kWindows[] = {1, 1000, 64 * 1024, 1024 * 1024};
    return {.futile_streams = 1000000, .window = kWindows[seed % 4], .session_window = seed % 3 == 0 ? 0 : 1u << 20};
  }

  std::mt19937 random{GetParam()};
  Side client{Session::Role::kClient, LimitsOf(GetParam()), random};
  Side server{Session::Role::kServer, LimitsOf(GetParam() / 2), random};
};

TEST_P(RandomTest, WhatIsSentArrives) {
  client.other = &server;
  server.other = &client;
  for (int i = 0; i < 3000; ++i) {
    Side& side = client.Chance(2) ? client : server;
    side.Act();
    if (side.Chance(2)) side.Deliver(side.Below(side.Chance(10) ? 20000 : 50));
    ASSERT_FALSE(HasFailure()) << "step " << i;
  }
  Settle();
  for (Side* side : {&client, &server}) {
    for (auto& [id, stream] : side->streams) {
      if (stream.reset || stream.we_ended) continue;
      side->Send(id, true);
      Settle();
      ASSERT_TRUE(stream.reset || stream.we_ended) << "stream " << id << " may not send";
    }
  }
  size_t whole = 0;
  for (const auto& [id, stream] : client.streams) {
    const auto& other = server.streams[id];
    if (stream.reset || other.reset) {
      EXPECT_LE(stream.received, other.sent);
      EXPECT_LE(other.received, stream.sent);
    } else {
      EXPECT_EQ(stream.received, other.sent) << id;
      EXPECT_EQ(other.received, stream.sent) << id;
      whole += stream.sent;
    }
  }
  EXPECT_GT(whole, 10u);
  EXPECT_EQ(client.session.open_streams(), 0u);
  EXPECT_EQ(server.session.open_streams(), 0u);
  EXPECT_EQ(client.pings, client.pongs);
  EXPECT_EQ(server.pings, server.pongs);
  // No part of a window was lost on the way: at least what is told at the latest.
  for (Side* side : {&client, &server}) {
    StreamId id = 0;
    do {
      id = side->Open(false);
      Settle();
    } while (side->streams[id].reset);
    const Limits limits = LimitsOf(side == &client ? GetParam() / 2 : GetParam());
    EXPECT_GE(side->session.SendWindow(id), std::min(limits.window, std::max(limits.session_window, 64u * 1024) / 2));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTest, ::testing::Range(0u, 24u));

}  // namespace
}  // namespace berth::streaming::spdy
