#include "cri/streaming/channel_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/strings/escaping.h"

namespace berth::streaming {
namespace {

using ::testing::ElementsAre;

class Recorder : public ChannelDecoder::Sink {
 public:
  void OnData(uint8_t channel, absl::string_view bytes) override {
    EXPECT_FALSE(bytes.empty());
    if (!seen.empty() && channel == last_) {
      seen.back().append(bytes.data(), bytes.size());
    } else {
      seen.push_back(absl::StrCat(channel, ":", bytes));
    }
    last_ = channel;
  }
  void OnCloseSignal(uint8_t channel) override {
    seen.push_back(absl::StrCat("close ", channel));
    last_ = -1;
  }
  std::vector<std::string> seen;

 private:
  int last_ = -1;
};

// What is seen of the messages, the last of which must be the one that fails, if any.
std::vector<std::string> Decode(absl::string_view protocol, const std::vector<std::string>& messages, size_t piece) {
  Recorder recorder;
  ChannelDecoder decoder(ChannelProtocolOf(protocol), recorder);
  for (const std::string& message : messages) {
    size_t at = 0;
    do {
      const absl::string_view part = absl::string_view(message).substr(at, piece);
      const auto status = decoder.Feed(part, at == 0, at + part.size() >= message.size());
      if (!status.ok()) {
        recorder.seen.push_back("error");
        return recorder.seen;
      }
      at += part.size();
    } while (at < message.size());
  }
  return recorder.seen;
}

TEST(ChannelCodec, HowProtocolsDiffer) {
  EXPECT_TRUE(ChannelProtocolOf("v5.channel.k8s.io").close_signal);
  EXPECT_TRUE(ChannelProtocolOf("v5.channel.k8s.io").json_status);
  EXPECT_FALSE(ChannelProtocolOf("v4.channel.k8s.io").close_signal);
  EXPECT_TRUE(ChannelProtocolOf("v4.base64.channel.k8s.io").base64);
  EXPECT_TRUE(ChannelProtocolOf("v4.base64.channel.k8s.io").json_status);
  EXPECT_FALSE(ChannelProtocolOf("base64.channel.k8s.io").json_status);
  EXPECT_FALSE(ChannelProtocolOf("").base64);
}

TEST(ChannelCodec, MessagesMayBeCutAnywhere) {
  const std::vector<std::string> messages = {std::string("\0hello", 6), "", std::string("\0", 1), "\1world",
                                             "\xff" + std::string(1, '\0')};
  for (size_t piece : {1, 2, 3, 100}) {
    EXPECT_THAT(Decode("v5.channel.k8s.io", messages, piece), ElementsAre("0:hello", "1:world", "close 0"));
    EXPECT_THAT(Decode("v4.channel.k8s.io", messages, piece),
                ElementsAre("0:hello", "1:world", std::string("255:\0", 5)));
  }
}

TEST(ChannelCodec, ACloseSignalIsTwoBytes) {
  for (size_t piece : {1, 2, 3, 100}) {
    EXPECT_THAT(Decode("v5.channel.k8s.io", {"\xff"}, piece), ElementsAre("error"));
    EXPECT_THAT(Decode("v5.channel.k8s.io", {"\xff\1\1"}, piece), ElementsAre("error"));
  }
}

TEST(ChannelCodec, Base64InAnyPieces) {
  for (size_t piece : {1, 2, 3, 4, 5, 100}) {
    EXPECT_THAT(Decode("base64.channel.k8s.io", {"0Zm9vCg==", "1Zm9v", "2Zg==", "0", "2Z\r\nm8=\n"}, piece),
                ElementsAre("0:foo\n", "1:foo", "2:ffo"));
    for (const char* bad : {"0Zm9", "0Z", "0Zm9v=", "0Z===", "0====", "0Zg==Zg==", "0Zg=a", "0Zm-v", "0Zm9v "}) {
      EXPECT_THAT(Decode("base64.channel.k8s.io", {bad}, piece), ::testing::Contains("error")) << bad;
    }
  }
}

TEST(ChannelCodec, Encodes) {
  EXPECT_EQ(EncodeMessage(ChannelProtocolOf("v4.channel.k8s.io"), 3, "xyz"), "\3");  // the bytes follow uncopied
  EXPECT_EQ(EncodeMessage(ChannelProtocolOf("base64.channel.k8s.io"), 1, "foo\n"), "1Zm9vCg==");
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::string message = EncodeMessage({.base64 = true}, 63, all);
  EXPECT_THAT(Decode("base64.channel.k8s.io", {message}, 7), ElementsAre("63:" + all));
}

}  // namespace
}  // namespace berth::streaming
