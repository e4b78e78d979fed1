#include "cri/streaming/spdy/frame.h"

namespace berth::streaming::spdy {
namespace {

constexpr uint32_t kControl = 0x80000000;
constexpr size_t kSynStreamFixed = 10, kSetting = 8;

void AppendHeader(std::string& out, FrameType type, uint8_t flags, size_t length) {
  AppendU32(out, kControl | uint32_t{kVersion} << 16 | static_cast<uint32_t>(type));
  AppendU32(out, uint32_t{flags} << 24 | static_cast<uint32_t>(length));
}

StreamId ReadU31(const char* bytes) { return ReadU32(bytes) & kMax31; }

absl::Status WrongLength(absl::string_view frame, size_t length) {
  return absl::InvalidArgumentError(absl::StrCat(frame, " of ", length, " bytes"));
}

}  // namespace

void AppendU32(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t ReadU32(const char* bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

FrameHeader DecodeHeader(const char* bytes) {
  const uint32_t first = ReadU32(bytes), second = ReadU32(bytes + 4);
  FrameHeader header{
      .control = (first & kControl) != 0, .flags = static_cast<uint8_t>(second >> 24), .length = second & kMaxLength};
  if (header.control) {
    header.version = first >> 16 & 0x7fff;
    header.type = static_cast<FrameType>(first & 0xffff);
  } else {
    header.stream = first;
  }
  return header;
}

std::array<char, kFrameHeader> DataHeader(StreamId stream, uint32_t length, bool fin) {
  std::string bytes;
  AppendU32(bytes, stream);
  AppendU32(bytes, (fin ? uint32_t{kFin} << 24 : 0) | length);
  std::array<char, kFrameHeader> header;
  bytes.copy(header.data(), header.size());
  return header;
}

absl::StatusOr<SynStream> DecodeSynStream(absl::string_view payload) {
  if (payload.size() < kSynStreamFixed) return WrongLength("SYN_STREAM", payload.size());
  return SynStream{.stream = ReadU31(payload.data()),
                   .associated = ReadU31(payload.data() + 4),
                   .priority = static_cast<uint8_t>(static_cast<uint8_t>(payload[8]) >> 5),
                   .headers = payload.substr(kSynStreamFixed)};
}

absl::StatusOr<StreamHeaders> DecodeStreamHeaders(absl::string_view payload) {
  if (payload.size() < 4) return WrongLength("SYN_REPLY or HEADERS", payload.size());
  return StreamHeaders{.stream = ReadU31(payload.data()), .headers = payload.substr(4)};
}

absl::StatusOr<RstStream> DecodeRstStream(absl::string_view payload) {
  if (payload.size() != 8) return WrongLength("RST_STREAM", payload.size());
  return RstStream{.stream = ReadU31(payload.data()), .status = static_cast<RstStatus>(ReadU32(payload.data() + 4))};
}

absl::StatusOr<std::vector<Setting>> DecodeSettings(absl::string_view payload) {
  if (payload.size() < 4 || payload.size() - 4 != uint64_t{ReadU32(payload.data())} * kSetting) {
    return WrongLength("SETTINGS", payload.size());
  }
  std::vector<Setting> settings;
  for (payload.remove_prefix(4); !payload.empty(); payload.remove_prefix(kSetting)) {
    settings.push_back({.flags = static_cast<uint8_t>(payload[0]),
                        .id = ReadU32(payload.data()) & 0xffffff,
                        .value = ReadU32(payload.data() + 4)});
  }
  return settings;
}

absl::StatusOr<uint32_t> DecodePing(absl::string_view payload) {
  if (payload.size() != 4) return WrongLength("PING", payload.size());
  return ReadU32(payload.data());
}

absl::StatusOr<GoAwayFrame> DecodeGoAway(absl::string_view payload) {
  if (payload.size() != 8) return WrongLength("GOAWAY", payload.size());
  return GoAwayFrame{.last_good = ReadU31(payload.data()),
                     .status = static_cast<GoAwayStatus>(ReadU32(payload.data() + 4))};
}

absl::StatusOr<WindowUpdate> DecodeWindowUpdate(absl::string_view payload) {
  if (payload.size() != 8) return WrongLength("WINDOW_UPDATE", payload.size());
  return WindowUpdate{.stream = ReadU31(payload.data()), .delta = ReadU31(payload.data() + 4)};
}

void AppendSynStream(std::string& out, const SynStream& frame, uint8_t flags) {
  AppendHeader(out, FrameType::kSynStream, flags, kSynStreamFixed + frame.headers.size());
  AppendU32(out, frame.stream);
  AppendU32(out, frame.associated);
  out.push_back(static_cast<char>(frame.priority << 5));
  out.push_back(0);
  out.append(frame.headers.data(), frame.headers.size());
}

void AppendStreamHeaders(std::string& out, FrameType type, const StreamHeaders& frame, uint8_t flags) {
  AppendHeader(out, type, flags, 4 + frame.headers.size());
  AppendU32(out, frame.stream);
  out.append(frame.headers.data(), frame.headers.size());
}

void AppendRstStream(std::string& out, const RstStream& frame) {
  AppendHeader(out, FrameType::kRstStream, 0, 8);
  AppendU32(out, frame.stream);
  AppendU32(out, static_cast<uint32_t>(frame.status));
}

void AppendSettings(std::string& out, const std::vector<Setting>& settings) {
  AppendHeader(out, FrameType::kSettings, 0, 4 + settings.size() * kSetting);
  AppendU32(out, static_cast<uint32_t>(settings.size()));
  for (const Setting& setting : settings) {
    AppendU32(out, uint32_t{setting.flags} << 24 | setting.id);
    AppendU32(out, setting.value);
  }
}

void AppendPing(std::string& out, uint32_t id) {
  AppendHeader(out, FrameType::kPing, 0, 4);
  AppendU32(out, id);
}

void AppendGoAway(std::string& out, const GoAwayFrame& frame) {
  AppendHeader(out, FrameType::kGoAway, 0, 8);
  AppendU32(out, frame.last_good);
  AppendU32(out, static_cast<uint32_t>(frame.status));
}

void AppendWindowUpdate(std::string& out, const WindowUpdate& frame) {
  AppendHeader(out, FrameType::kWindowUpdate, 0, 8);
  AppendU32(out, frame.stream);
  AppendU32(out, frame.delta);
}

}  // namespace berth::streaming::spdy
