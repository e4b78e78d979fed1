// Kubernetes' channel protocols: numbered channels in the messages of one WebSocket.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/streaming/channel.h"
#include "cri/streaming/channel_codec.h"
#include "cri/streaming/patience.h"
#include "cri/streaming/websocket.h"

namespace berth::streaming {

// What a client closes ends its channels: there is no other way to end one, except v5's signal. So a client that says
// goodbye while an input of its is open has ended that input, and what it has set going may still come to its end:
// the connection counts as gone when the session closes it, or kLingerSeconds later.
class WebSocketChannels : public Connection,
                          public ChannelDecoder::Sink,
                          public std::enable_shared_from_this<WebSocketChannels> {
 public:
  // What a client may send on a channel. The rest, and what is for channels that there are not, is dropped.
  enum class Input { kNone, kControl, kData };
  // One channel for each of `inputs`.
  WebSocketChannels(std::shared_ptr<WebSocket> socket, ChannelProtocol protocol, const std::vector<Input>& inputs);
  ~WebSocketChannels() override;

  // Before anything else on that channel.
  void Announce(size_t channel, std::string bytes);
  // Keeps the connection alive until it ends.
  std::shared_ptr<Channel> channel(size_t number);
  // Begins to read, which keeps it alive, too.
  void Start();
  // Closes the connection when all its channels have been ended or reset.
  void CloseAtEnd() { close_at_end_ = true; }
  // Called when something has come or gone. Let go of when the connection ends.
  void OnActive(std::function<void()> active) { on_active_ = std::move(active); }

  void Close() override;
  void OnClosed(std::function<void()> closed) override { on_closed_ = std::move(closed); }

 private:
  class One;

  // ChannelDecoder::Sink
  void OnData(uint8_t channel, absl::string_view bytes) override;
  void OnCloseSignal(uint8_t channel) override;

  void Read();
  void WatchClient();
  bool OnPiece(const absl::StatusOr<WebSocket::Piece>& piece);  // whether to read on
  void OnGoodbye();
  void Release(size_t bytes);
  void OnChannelDone();

  void Pump();
  bool SendNext();
  void OnSent(One* channel, size_t bytes, const absl::Status& status);
  void SayGoodbye(WebSocket::Code code);
  void Finish();
  void After(std::chrono::seconds time);

  // Received and not passed on: more is not read then.
  static constexpr size_t kMaxUnconsumed = 1 << 20;

  const std::shared_ptr<WebSocket> socket_;
  const ChannelProtocol protocol_;
  ChannelDecoder decoder_;
  std::vector<std::unique_ptr<One>> channels_;
  boost::asio::steady_timer timer_;   // of a goodbye
  boost::asio::steady_timer watch_;   // while nothing is read
  std::optional<Patience> patience_;  // once all is sent
  std::function<void()> on_closed_, on_active_;

  size_t unconsumed_ = 0;
  bool reading_ = false;
  bool client_gone_ = false;  // it said goodbye, or the connection is broken

  std::deque<std::pair<uint8_t, std::string>> announcements_;
  std::string encoded_;
  size_t turn_ = 0;  // the channel that may send next
  bool sending_ = false;
  bool close_at_end_ = false;
  bool closing_ = false;  // Close was called
  bool said_goodbye_ = false;
  bool finished_ = false;
};

}  // namespace berth::streaming
