#include "cri/streaming/spdy/frame.h"

#include <gmock/gmock.h>

#include "absl/strings/escaping.h"
#include "cri/streaming/spdy/frame_reader.h"

namespace berth::streaming::spdy {
namespace {

using ::testing::ElementsAre;

std::string Hex(absl::string_view bytes) { return absl::BytesToHexString(bytes); }

// What another implementation (Kubernetes' spdystream) writes for the same frames.
TEST(FrameTest, EncodesAsOthersDo) {
  std::string out;
  const auto take = [&out] { return Hex(std::exchange(out, {})); };
  AppendRstStream(out, {.stream = 3, .status = RstStatus::kCancel});
  EXPECT_EQ(take(), "80030003000000080000000300000005");
  AppendSettings(out,
                 {{.flags = 1, .id = kMaxConcurrentStreams, .value = 100}, {.id = kInitialWindow, .value = 65536}});
  EXPECT_EQ(take(), "80030004000000140000000201000004000000640000000700010000");
  AppendPing(out, 1);
  EXPECT_EQ(take(), "800300060000000400000001");
  AppendGoAway(out, {.last_good = 5, .status = GoAwayStatus::kProtocolError});
  EXPECT_EQ(take(), "80030007000000080000000500000001");
  AppendWindowUpdate(out, {.stream = 3, .delta = 0x12345});
  EXPECT_EQ(take(), "80030009000000080000000300012345");
  AppendSynStream(out, {.stream = 5, .associated = 3, .priority = 5, .headers = "block"}, kFin);
  EXPECT_EQ(take(), "800300010100000f0000000500000003a000" + Hex("block"));
  AppendStreamHeaders(out, FrameType::kSynReply, {.stream = 1, .headers = "block"}, 0);
  EXPECT_EQ(take(), "800300020000000900000001" + Hex("block"));
  AppendStreamHeaders(out, FrameType::kHeaders, {.stream = 1, .headers = "block"}, kFin);
  EXPECT_EQ(take(), "800300080100000900000001" + Hex("block"));
  const auto hex = [](const auto& header) { return Hex(absl::string_view(header.data(), header.size())); };
  EXPECT_EQ(hex(DataHeader(3, 5, false)), "0000000300000005");
  EXPECT_EQ(hex(DataHeader(kMax31, kMaxLength, true)), "7fffffff01ffffff");
}

TEST(FrameTest, DecodesHeaders) {
  const FrameHeader control = DecodeHeader(absl::HexStringToBytes("8003000801abcdef").data());
  EXPECT_TRUE(control.control);
  EXPECT_EQ(control.version, 3);
  EXPECT_EQ(control.type, FrameType::kHeaders);
  EXPECT_TRUE(control.fin());
  EXPECT_EQ(control.length, 0xabcdefu);
  const FrameHeader data = DecodeHeader(absl::HexStringToBytes("7fffffff00000010").data());
  EXPECT_FALSE(data.control);
  EXPECT_EQ(data.stream, kMax31);
  EXPECT_FALSE(data.fin());
  EXPECT_EQ(data.length, 16u);
}

TEST(FrameTest, DecodesPayloads) {
  const auto bytes = [](absl::string_view hex) { return absl::HexStringToBytes(hex); };
  const std::string syn_bytes = bytes("800000058000000360ff626c6f636b");  // reserved bits are set
  const auto syn = DecodeSynStream(syn_bytes);
  ASSERT_TRUE(syn.ok());
  EXPECT_EQ(syn->stream, 5u);
  EXPECT_EQ(syn->associated, 3u);
  EXPECT_EQ(syn->priority, 3);
  EXPECT_EQ(syn->headers, "block");
  const auto headers = DecodeStreamHeaders(absl::string_view("\x80\0\0\1block", 9));
  ASSERT_TRUE(headers.ok());
  EXPECT_EQ(headers->stream, 1u);
  EXPECT_EQ(headers->headers, "block");
  const auto reset = DecodeRstStream(bytes("8000000300000007"));
  ASSERT_TRUE(reset.ok());
  EXPECT_EQ(reset->stream, 3u);
  EXPECT_EQ(reset->status, RstStatus::kFlowControlError);
  const auto settings = DecodeSettings(bytes("00000002010000040000006400000007ffffffff"));
  ASSERT_TRUE(settings.ok());
  ASSERT_EQ(settings->size(), 2u);
  EXPECT_EQ((*settings)[0].flags, 1);
  EXPECT_EQ((*settings)[0].id, kMaxConcurrentStreams);
  EXPECT_EQ((*settings)[0].value, 100u);
  EXPECT_EQ((*settings)[1].id, kInitialWindow);
  EXPECT_EQ((*settings)[1].value, 0xffffffffu);
  EXPECT_EQ(DecodePing(bytes("fedcba98")).value_or(0), 0xfedcba98);
  const auto goaway = DecodeGoAway(bytes("8000000500000002"));
  ASSERT_TRUE(goaway.ok());
  EXPECT_EQ(goaway->last_good, 5u);
  EXPECT_EQ(goaway->status, GoAwayStatus::kInternalError);
  const auto update = DecodeWindowUpdate(bytes("8000000380000001"));
  ASSERT_TRUE(update.ok());
  EXPECT_EQ(update->stream, 3u);
  EXPECT_EQ(update->delta, 1u);
}

TEST(FrameTest, RefusesOtherLengths) {
  const std::string zeros(64, '\0');
  for (size_t size = 0; size < zeros.size(); ++size) {
    const auto payload = absl::string_view(zeros).substr(0, size);
    EXPECT_EQ(DecodeSynStream(payload).ok(), size >= 10) << size;
    EXPECT_EQ(DecodeStreamHeaders(payload).ok(), size >= 4) << size;
    EXPECT_EQ(DecodeRstStream(payload).ok(), size == 8) << size;
    EXPECT_EQ(DecodeSettings(payload).ok(), size == 4) << size;
    EXPECT_EQ(DecodePing(payload).ok(), size == 4) << size;
    EXPECT_EQ(DecodeGoAway(payload).ok(), size == 8) << size;
    EXPECT_EQ(DecodeWindowUpdate(payload).ok(), size == 8) << size;
  }
  EXPECT_FALSE(DecodeSettings(absl::HexStringToBytes("20000001")).ok()) << "its 8 * 0x20000001 bytes are 8 in 32 bits";
  EXPECT_FALSE(DecodeSettings(absl::HexStringToBytes("200000010000000700000000")).ok());
}

// What a reader makes of `bytes` that come `step` at a time: the parts of one data frame as one.
std::vector<std::string> Read(absl::string_view bytes, size_t step) {
  FrameReader reader(100);
  std::vector<std::string> frames;
  std::string data;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(step, bytes.size()))) {
    absl::string_view piece = bytes.substr(0, step);
    for (;;) {
      const auto part = reader.Next(piece);
      if (!part.ok()) {
        frames.push_back("error");
        return frames;
      }
      if (!part->has_value()) break;
      const auto& [header, payload, first, last] = **part;
      if (header.control) {
        frames.push_back(absl::StrCat("control ", static_cast<int>(header.type), " ", Hex(payload)));
        continue;
      }
      if (first) data.clear();
      data.append(payload.data(), payload.size());
      if (last) frames.push_back(absl::StrCat("data ", header.stream, " ", data));
    }
    EXPECT_TRUE(piece.empty());
  }
  return frames;
}

TEST(FrameReaderTest, CutsTheSameFramesHoweverTheyCome) {
  std::string bytes;
  const auto append_data = [&bytes](StreamId stream, const std::string& text) {
    const auto header = DataHeader(stream, static_cast<uint32_t>(text.size()), false);
    bytes.append(header.data(), header.size());
    bytes += text;
  };
  AppendPing(bytes, 1);
  append_data(3, "hello");
  append_data(5, "");
  bytes += absl::HexStringToBytes("8003002a00000003") + "abc";  // of a type that nobody knows
  bytes += absl::HexStringToBytes("8003002a00000000");
  AppendSettings(bytes, {});
  append_data(3, "world");
  for (size_t step = 1; step <= bytes.size(); ++step) {
    EXPECT_THAT(Read(bytes, step),
                ElementsAre("control 6 00000001", "data 3 hello", "data 5 ", "control 4 00000000", "data 3 world"))
        << step;
  }
}

TEST(FrameReaderTest, DataComesBeforeItsFrameIsComplete) {
  FrameReader reader(100);
  absl::string_view bytes(
      "\0\0\0\1\0\xff\xff\xff"
      "abc",
      11);
  const auto part = reader.Next(bytes);
  ASSERT_TRUE(part.ok() && part->has_value());
  EXPECT_EQ((*part)->payload, "abc");
  EXPECT_TRUE((*part)->first);
  EXPECT_FALSE((*part)->last);
}

TEST(FrameReaderTest, RefusesOtherVersionsAndLongFrames) {
  EXPECT_THAT(Read(absl::HexStringToBytes("8002000600000004"), 8), ElementsAre("error"));
  EXPECT_THAT(Read(absl::HexStringToBytes("8003000800000064") + std::string(100, 'x'), 200).size(), 1u);
  EXPECT_THAT(Read(absl::HexStringToBytes("8003000800000065"), 8), ElementsAre("error"));
  // What is passed over is not kept, and may have any length.
  EXPECT_TRUE(Read(absl::HexStringToBytes("8003002a00ffffff") + std::string(200, 'x'), 50).empty());
}

}  // namespace
}  // namespace berth::streaming::spdy
