// The frames of SPDY/3.1 as bytes: pure functions both ways. Source: draft 3.1, sections 2.2 and 2.6. All numbers are
// big-endian, stream ids and windows have 31 bits, and what the draft reserves is ignored.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "cri/streaming/spdy/types.h"
#include "runtime/base/status.h"

namespace berth::streaming::spdy {

inline constexpr size_t kFrameHeader = 8;
inline constexpr uint32_t kMaxLength = 0xffffff;  // of what follows a frame's header
inline constexpr uint16_t kVersion = 3;           // of 3.1 as well
inline constexpr uint32_t kMax31 = 0x7fffffff;    // the greatest stream id, and the greatest window

enum class FrameType : uint16_t {
  kSynStream = 1,
  kSynReply = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kHeaders = 8,
  kWindowUpdate = 9,
};
inline constexpr uint8_t kFin = 1;             // SYN_STREAM, SYN_REPLY, HEADERS, DATA
inline constexpr uint8_t kUnidirectional = 2;  // SYN_STREAM

// A frame's first bytes. Those of a control frame have a version and a type, those of a data frame a stream.
struct FrameHeader {
  bool control = false;
  uint16_t version = 0;
  FrameType type{};  // or a number that has no name here
  StreamId stream = 0;
  uint8_t flags = 0;
  uint32_t length = 0;  // of what follows

  bool fin() const { return (flags & kFin) != 0; }
};
FrameHeader DecodeHeader(const char* bytes);  // kFrameHeader of them
std::array<char, kFrameHeader> DataHeader(StreamId stream, uint32_t length, bool fin);

// What follows the header, for each type. InvalidArgument when the length is not what the draft says.
struct SynStream {
  StreamId stream = 0;
  StreamId associated = 0;
  uint8_t priority = 0;       // 0 to 7
  absl::string_view headers;  // compressed
};
struct StreamHeaders {  // SYN_REPLY and HEADERS
  StreamId stream = 0;
  absl::string_view headers;
};
struct RstStream {
  StreamId stream = 0;
  RstStatus status{};
};
struct Setting {
  uint8_t flags = 0;
  uint32_t id = 0;
  uint32_t value = 0;
};
inline constexpr uint32_t kMaxConcurrentStreams = 4;  // ids of settings
inline constexpr uint32_t kInitialWindow = 7;
struct GoAwayFrame {
  StreamId last_good = 0;
  GoAwayStatus status{};
};
struct WindowUpdate {
  StreamId stream = 0;  // 0 for the session's window
  uint32_t delta = 0;
};
absl::StatusOr<SynStream> DecodeSynStream(absl::string_view payload);
absl::StatusOr<StreamHeaders> DecodeStreamHeaders(absl::string_view payload);
absl::StatusOr<RstStream> DecodeRstStream(absl::string_view payload);
absl::StatusOr<std::vector<Setting>> DecodeSettings(absl::string_view payload);
absl::StatusOr<uint32_t> DecodePing(absl::string_view payload);
absl::StatusOr<GoAwayFrame> DecodeGoAway(absl::string_view payload);
absl::StatusOr<WindowUpdate> DecodeWindowUpdate(absl::string_view payload);

// Whole frames, put behind `out`.
void AppendSynStream(std::string& out, const SynStream& frame, uint8_t flags);
void AppendStreamHeaders(std::string& out, FrameType type, const StreamHeaders& frame, uint8_t flags);
void AppendRstStream(std::string& out, const RstStream& frame);
void AppendSettings(std::string& out, const std::vector<Setting>& settings);
void AppendPing(std::string& out, uint32_t id);
void AppendGoAway(std::string& out, const GoAwayFrame& frame);
void AppendWindowUpdate(std::string& out, const WindowUpdate& frame);

void AppendU32(std::string& out, uint32_t value);
uint32_t ReadU32(const char* bytes);

}  // namespace berth::streaming::spdy
