// A streaming server for tests of its clients: HTTP upgrade and SPDY on a unix socket, and what happens on its streams
// is the test's to say. One thread serves all connections; the hooks run in it.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/streaming/spdy/session.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli {

class FakeStreams {
 public:
  using StreamId = streaming::spdy::StreamId;

  class Connection : streaming::spdy::Events {
   public:
    // Sent as the client's windows allow. Streams are named by their header streamtype, or by id.
    void Send(StreamId id, absl::string_view bytes, bool fin = false);
    void Send(const std::string& type, absl::string_view bytes, bool fin = false) { Send(stream(type), bytes, fin); }
    void Reset(StreamId id);
    void Close();  // when all is sent
    // Ends all streams of a command with its exit code, then the connection.
    void Exit(int code);
    // The same for a command that never ran: `status` is what the error stream says.
    void Fail(absl::string_view status);
    StreamId stream(const std::string& type) const;  // the first; 0 for none
    std::string header(StreamId id, const std::string& name) const;
    size_t unsent(StreamId id) const;
    int number = 0;  // of the connection, from 1

   private:
    friend class FakeStreams;
    struct Stream {
      std::string type;
      streaming::spdy::Headers headers;
      std::string queue;
      bool fin = false, fin_sent = false;
    };
    Connection(FakeStreams* server, sys::UniqueFd socket);
    void OnStream(StreamId id, const streaming::spdy::Headers& headers, bool fin) override;
    void OnReply(StreamId, const streaming::spdy::Headers&, bool) override {}
    void OnHeaders(StreamId, const streaming::spdy::Headers&, bool) override {}
    void OnData(StreamId id, absl::string_view bytes, bool fin) override;
    void OnReset(StreamId id, streaming::spdy::RstStatus status) override;
    void OnWindow(StreamId) override {}
    void OnPong(uint32_t) override {}
    void OnGoAway(streaming::spdy::GoAwayStatus) override {}
    bool Read();   // false when the connection is over
    bool Write();  // likewise

    FakeStreams* server_;
    sys::UniqueFd socket_;
    bool upgraded_ = false, greeted_ = false, closing_ = false;
    std::string request_, out_;
    streaming::spdy::Session session_;
    std::map<StreamId, Stream> streams_;
  };

  struct Hooks {
    std::function<void(Connection&, StreamId, const std::string& type)> opened;
    std::function<void(Connection&, StreamId, const std::string& type, absl::string_view bytes, bool fin)> data;
    std::function<void(Connection&, StreamId, const std::string& type)> reset;
  };

  // Serves the socket `path` until it is destroyed.
  FakeStreams(const std::string& path, Hooks hooks);
  ~FakeStreams();

  // Set before a client comes.
  std::string answer;                          // instead of the upgrade
  std::atomic<bool> silent = false;            // takes connections and says nothing
  std::atomic<bool> refuse_streams = false;    // resets each
  std::atomic<bool> keep_window_shut = false;  // takes one window's worth of data, not more
  std::atomic<bool> windowless = false;        // sends no SETTINGS, as if it knew no windows
  std::atomic<size_t> spdy_received = 0;       // bytes of the protocol
  std::atomic<int> connections = 0;            // so far
  std::atomic<size_t> received = 0;            // bytes of data
  std::vector<std::string> requests;           // headers; to be looked at when no client is there
  static constexpr uint32_t kWindow = 64 * 1024;

 private:
  void Serve();

  Hooks hooks_;
  std::string path_;
  sys::UniqueFd listener_, stop_read_, stop_write_;
  std::list<std::unique_ptr<Connection>> open_;
  std::thread thread_;
};

}  // namespace berth::cli
