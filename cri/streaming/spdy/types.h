// The words of SPDY/3.1 that both the frames and the session use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace berth::streaming::spdy {

using StreamId = uint32_t;
// Names in lower case, in the order of the wire. Several values of one name are separated by NUL, as on the wire.
using Headers = std::vector<std::pair<std::string, std::string>>;

// RST_STREAM, section 2.6.3. A peer may send other numbers.
enum class RstStatus : uint32_t {
  kProtocolError = 1,
  kInvalidStream = 2,
  kRefusedStream = 3,
  kUnsupportedVersion = 4,
  kCancel = 5,
  kInternalError = 6,
  kFlowControlError = 7,
  kStreamInUse = 8,
  kStreamAlreadyClosed = 9,
  kFrameTooLarge = 11,
};
// GOAWAY, section 2.6.6.
enum class GoAwayStatus : uint32_t { kOk = 0, kProtocolError = 1, kInternalError = 2 };

struct Limits {
  size_t streams = 1000;              // of the peer's, open at once; more are refused
  size_t futile_streams = 1000;       // that the peer opens and resets before it got anything; see the design
  size_t header_block = 16 << 10;     // bytes of one, decompressed
  size_t headers = 64;                // pairs in one
  size_t control_frame = 32 << 10;    // bytes of one
  uint32_t window = 256 << 10;        // that we give each stream
  uint32_t session_window = 1 << 20;  // that we give all of them together; at least 64 KiB
  size_t pending_control = 64 << 10;  // bytes of answers to control frames that the peer does not read
};

}  // namespace berth::streaming::spdy
