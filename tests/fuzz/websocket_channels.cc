// Messages of the channel protocols from a client, and back. The first byte of the input selects the protocol and how
// messages are cut into pieces; in the rest a message begins with its length.
#include <algorithm>
#include <map>
#include <string>

#include "cri/streaming/channel_codec.h"
#include "tests/fuzz/require.h"

using namespace berth::streaming;

namespace {

class Recorder : public ChannelDecoder::Sink {
 public:
  void OnData(uint8_t channel, absl::string_view bytes) override {
    REQUIRE(!bytes.empty());
    data[channel].append(bytes.data(), bytes.size());
  }
  void OnCloseSignal(uint8_t channel) override { signals += static_cast<char>(channel); }
  bool operator==(const Recorder& other) const { return data == other.data && signals == other.signals; }

  std::map<uint8_t, std::string> data;
  std::string signals;
};

bool Decode(ChannelProtocol protocol, absl::string_view bytes, size_t piece, Recorder& recorder) {
  ChannelDecoder decoder(protocol, recorder);
  while (!bytes.empty()) {
    absl::string_view message = bytes.substr(1, static_cast<uint8_t>(bytes[0]));
    bytes.remove_prefix(1 + message.size());
    bool first = true;
    do {
      const absl::string_view part = message.substr(0, piece);
      message.remove_prefix(part.size());
      if (!decoder.Feed(part, first, message.empty()).ok()) return false;
      first = false;
    } while (!message.empty());
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  constexpr absl::string_view kProtocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io", "base64.channel.k8s.io"};
  const ChannelProtocol protocol = ChannelProtocolOf(kProtocols[data[0] % 3]);
  const absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  Recorder whole, cut;
  const bool good = Decode(protocol, bytes, 1000, whole);
  REQUIRE(Decode(protocol, bytes, 1u + data[0] / 3, cut) == good);
  if (!good) return 0;
  REQUIRE(whole == cut);
  // What is sent is what the other side reads.
  Recorder back;
  std::string message = EncodeMessage(protocol, 1, bytes);
  if (!protocol.base64) message.append(bytes.data(), bytes.size());
  ChannelDecoder decoder(protocol, back);
  REQUIRE(decoder.Feed(message, true, true).ok());
  REQUIRE(back.data[1] == bytes);
  return 0;
}
