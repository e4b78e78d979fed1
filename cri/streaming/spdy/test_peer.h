// A session and what it was told, for tests.
#pragma once

#include <gmock/gmock.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "cri/streaming/spdy/session.h"

namespace berth::streaming::spdy {

class TestPeer : public Events {
 public:
  explicit TestPeer(Session::Role role, Limits limits = {}) : session(role, limits, *this) {}

  Session session;
  bool replies = true, consumes = true;
  std::map<StreamId, std::string> received;
  std::vector<std::string> log;  // since the last TakeLog; nothing of windows unless `logs_windows`
  bool logs_windows = false;

  std::vector<std::string> TakeLog() { return std::exchange(log, {}); }

  void OnStream(StreamId id, const Headers& headers, bool fin) override {
    Log("stream", id, Text(headers), fin);
    if (replies) session.Reply(id, {}, false);
  }
  void OnReply(StreamId id, const Headers& headers, bool fin) override { Log("reply", id, Text(headers), fin); }
  void OnHeaders(StreamId id, const Headers& headers, bool fin) override { Log("headers", id, Text(headers), fin); }
  void OnData(StreamId id, absl::string_view bytes, bool fin) override {
    Log("data", id, absl::StrCat(" ", bytes.size() > 20 ? absl::StrCat(bytes.size()) : std::string(bytes)), fin);
    received[id].append(bytes.data(), bytes.size());
    if (consumes) session.Consumed(id, bytes.size());
  }
  void OnReset(StreamId id, RstStatus status) override {
    Log("reset", id, absl::StrCat(" ", static_cast<int>(status)));
  }
  void OnWindow(StreamId id) override {
    if (logs_windows) Log("window", id, "");
  }
  void OnPong(uint32_t id) override { Log("pong", id, ""); }
  void OnGoAway(GoAwayStatus status) override { log.push_back(absl::StrCat("goaway ", static_cast<int>(status))); }

  // A data frame.
  std::string Data(StreamId id, absl::string_view bytes, bool fin = false) {
    const auto header = session.Data(id, bytes.size(), fin);
    return absl::StrCat(absl::string_view(header.data(), header.size()), bytes);
  }

 private:
  void Log(absl::string_view what, StreamId id, const std::string& more, bool fin = false) {
    log.push_back(absl::StrCat(what, " ", id, more, fin ? " fin" : ""));
  }
  static std::string Text(const Headers& headers) {
    std::string text;
    for (const auto& [name, value] : headers) {
      absl::StrAppend(&text, " ", name, "=", absl::StrReplaceAll(value, {{absl::string_view("\0", 1), "|"}}));
    }
    return text;
  }
};

}  // namespace berth::streaming::spdy
