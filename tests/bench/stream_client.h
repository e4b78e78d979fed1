// The client's side of one session of exec or port-forward over SPDY, as fast as one thread can, with frames of the
// size that Kubernetes' clients send. Not thread-safe; every call blocks, for two minutes at most without a byte.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "cri/streaming/spdy/session.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::bench {

class StreamClient : private streaming::spdy::Events {
 public:
  using StreamId = streaming::spdy::StreamId;

  // Upgrades "http://ADDRESS:PORT/..." to SPDY with that protocol. Unavailable with the server's answer when it
  // refuses.
  static absl::StatusOr<std::unique_ptr<StreamClient>> Dial(const std::string& url, const std::string& protocol);
  ~StreamClient() override;

  // Once the server has taken it.
  absl::StatusOr<StreamId> Open(const streaming::spdy::Headers& headers, bool fin = false);
  // So many zeroes and the end of the stream; returns when the kernel has all of them.
  absl::Status Send(StreamId id, uint64_t bytes);
  // Until the stream has brought so many bytes, and until the server has ended it. What comes on others meanwhile is
  // taken, too. Unavailable when the connection ends before.
  absl::Status Receive(StreamId id, uint64_t bytes);
  absl::Status AwaitEnd(StreamId id);
  // The first bytes that it brought, at most 4096.
  const std::string& text(StreamId id) const { return streams_.at(id).text; }

 private:
  struct Stream {
    bool open = false, ended = false;
    uint64_t received = 0;
    std::string text;
  };

  explicit StreamClient(sys::UniqueFd fd);
  absl::Status Upgrade(const std::string& request);
  absl::Status Pump();
  absl::Status Write();
  absl::Status WriteFailed(int error);
  absl::Status Read();
  absl::Status Failed() const;

  void OnStream(StreamId id, const streaming::spdy::Headers& headers, bool fin) override;
  void OnReply(StreamId id, const streaming::spdy::Headers& headers, bool fin) override;
  void OnHeaders(StreamId id, const streaming::spdy::Headers& headers, bool fin) override;
  void OnData(StreamId id, absl::string_view bytes, bool fin) override;
  void OnReset(StreamId id, streaming::spdy::RstStatus status) override;
  void OnWindow(StreamId id) override;
  void OnPong(uint32_t id) override;
  void OnGoAway(streaming::spdy::GoAwayStatus status) override;

  sys::UniqueFd fd_;
  streaming::spdy::Session session_;
  std::map<StreamId, Stream> streams_;
  StreamId sender_ = 0;  // that `unsent_` is for
  uint64_t unsent_ = 0;  // bytes of data that have no frame yet
  std::string head_;     // control frames or a frame's header, not yet the kernel's from head_at_ on
  size_t head_at_ = 0;   // in head_
  size_t payload_ = 0;   // bytes of the frame behind head_, not yet the kernel's
  bool server_ended_ = false, server_takes_none_ = false;
  std::unique_ptr<char[]> buffer_;
};

}  // namespace berth::bench
