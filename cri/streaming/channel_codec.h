// The messages of Kubernetes' channel protocols over WebSocket: the number of a channel, then its bytes. Without
// sockets, so that it is tested and fuzzed from bytes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::streaming {

// Of a subprotocol as handshake.h chose it.
struct ChannelProtocol {
  bool base64 = false;        // the number is '0' + channel and the rest base64, in text messages
  bool close_signal = false;  // the message {255, channel} ends the client's side of a channel
  bool json_status = false;   // the error channel carries a metav1.Status
};
ChannelProtocol ChannelProtocolOf(absl::string_view subprotocol);

class ChannelDecoder {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    // Part of a message; never empty.
    virtual void OnData(uint8_t channel, absl::string_view bytes) = 0;
    virtual void OnCloseSignal(uint8_t channel) = 0;
  };

  ChannelDecoder(ChannelProtocol protocol, Sink& sink) : protocol_(protocol), sink_(sink) {}

  // The next piece of a message, however it is cut. InvalidArgument: base64 that is none, or a close signal of another
  // length; nothing more can be made of the connection. Empty messages are nothing.
  absl::Status Feed(absl::string_view bytes, bool first, bool last);

 private:
  absl::Status Signal(absl::string_view bytes, bool last);
  absl::Status Base64(absl::string_view bytes, bool last);

  const ChannelProtocol protocol_;
  Sink& sink_;
  bool numbered_ = false;  // the message's channel is known
  uint8_t channel_ = 0;
  std::string signal_;  // the channels that a close signal names; one is right
  // Base64: the bits of the group that is under way, its characters, and how many of them were '='.
  uint32_t bits_ = 0;
  int digits_ = 0, padding_ = 0;
  bool complete_ = false;  // a padded group ends the message
};

// Sends in messages of this many bytes at most, so that channels take turns.
inline constexpr size_t kMaxMessage = 64 * 1024;

// What stands in front of the bytes in a message, or, with base64, the whole of it.
std::string EncodeMessage(ChannelProtocol protocol, uint8_t channel, absl::string_view bytes);

}  // namespace berth::streaming
