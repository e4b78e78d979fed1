#include "runtime/shim/wire.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

namespace berth::shim {
namespace {

// What the other end gets, with a new descriptor for each that was sent.
sys::Packet Arrive(const OutPacket& out) {
  sys::Packet packet;
  packet.data = out.data;
  for (int fd : out.fds) packet.fds.emplace_back(dup(fd));
  return packet;
}

absl::StatusOr<std::optional<Message>> Feed(MessageReader& reader, const std::vector<OutPacket>& packets) {
  std::optional<Message> message;
  for (const OutPacket& packet : packets) {
    EXPECT_FALSE(message.has_value());
    ASSIGN_OR_RETURN(message, reader.Add(Arrive(packet)));
  }
  return message;
}

TEST(Wire, SmallMessagesAreOnePacket) {
  const int fds[] = {2, 2};
  auto packets = EncodeMessage("hello", fds);
  ASSERT_EQ(packets->size(), 1u);
  MessageReader reader;
  auto message = Feed(reader, *packets);
  ASSERT_TRUE(message.ok() && message->has_value());
  EXPECT_EQ((*message)->body, "hello");
  EXPECT_EQ((*message)->fds.size(), 2u);
}

TEST(Wire, AnEmptyMessageIsAMessage) {
  MessageReader reader;
  auto message = Feed(reader, *EncodeMessage("", {}));
  ASSERT_TRUE(message.ok() && message->has_value());
  EXPECT_TRUE((*message)->body.empty());
}

TEST(Wire, LargeMessagesAndManyDescriptorsTakeSeveralPackets) {
  std::string body(300000, 'b');
  body[299999] = 'e';
  const std::vector<int> fds(600, 2);
  auto packets = EncodeMessage(body, fds);
  ASSERT_TRUE(packets.ok());
  for (const OutPacket& p : *packets) {
    EXPECT_LE(p.data.size(), kMaxPacketBytes);
    EXPECT_LE(p.fds.size(), sys::kMaxPacketFds);
  }
  MessageReader reader;
  for (int round = 0; round < 2; ++round) {
    auto message = Feed(reader, *packets);
    ASSERT_TRUE(message.ok() && message->has_value());
    EXPECT_EQ((*message)->body, body);
    EXPECT_EQ((*message)->fds.size(), 600u);
  }
}

TEST(Wire, LimitsHoldOnBothSides) {
  EXPECT_FALSE(EncodeMessage(std::string(kMaxMessageBytes + 1, 'x'), {}).ok());
  EXPECT_FALSE(EncodeMessage("x", std::vector<int>(kMaxMessageFds + 1, 2)).ok());
  OutPacket packet = (*EncodeMessage("x", {}))[0];
  const uint32_t huge = kMaxMessageBytes + 1;
  memcpy(packet.data.data() + 4, &huge, sizeof huge);
  EXPECT_FALSE(MessageReader().Add(Arrive(packet)).ok());
}

TEST(Wire, PacketsThatAreNotOursAreRefused) {
  const OutPacket good = (*EncodeMessage("body", {}))[0];
  for (size_t size = 0; size < good.data.size(); ++size) {
    sys::Packet cut;
    cut.data = good.data.substr(0, size);
    EXPECT_FALSE(MessageReader().Add(std::move(cut)).ok()) << size;
  }
  for (size_t i = 0; i < 16; ++i) {
    sys::Packet flipped;
    flipped.data = good.data;
    flipped.data[i] = static_cast<char>(flipped.data[i] ^ 0x40);
    EXPECT_FALSE(MessageReader().Add(std::move(flipped)).ok()) << i;
  }
  OutPacket lost = good;
  const uint32_t one = 1;
  memcpy(lost.data.data() + 8, &one, sizeof one);
  EXPECT_FALSE(MessageReader().Add(Arrive(lost)).ok());
}

TEST(Wire, AMessageCannotGrowOnItsWay) {
  auto packets = *EncodeMessage(std::string(100000, 'x'), {});
  ASSERT_EQ(packets.size(), 2u);
  MessageReader reader;
  ASSERT_TRUE(reader.Add(Arrive(packets[0])).ok());
  EXPECT_FALSE(reader.Add(Arrive(packets[0])).ok());  // more bytes than announced
  MessageReader other;
  ASSERT_TRUE(other.Add(Arrive(packets[0])).ok());
  EXPECT_FALSE(other.Add(Arrive((*EncodeMessage("x", {}))[0])).ok());  // another message in between
}

}  // namespace
}  // namespace berth::shim
