#include "cri/streaming/channel_codec.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"

namespace berth::streaming {
namespace {

constexpr uint8_t kCloseSignal = 255;

// -1 for what is no digit of base64.
int DigitOf(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

}  // namespace

ChannelProtocol ChannelProtocolOf(absl::string_view subprotocol) {
  return {.base64 = absl::StrContains(subprotocol, "base64."),
          .close_signal = absl::StartsWith(subprotocol, "v5."),
          .json_status = absl::StartsWith(subprotocol, "v4.") || absl::StartsWith(subprotocol, "v5.")};
}

absl::Status ChannelDecoder::Feed(absl::string_view bytes, bool first, bool last) {
  if (first) {
    numbered_ = complete_ = false;
    signal_.clear();
    bits_ = 0;
    digits_ = padding_ = 0;
  }
  if (!numbered_) {
    if (bytes.empty()) return absl::OkStatus();
    channel_ = static_cast<uint8_t>(bytes.front() - (protocol_.base64 ? '0' : 0));
    numbered_ = true;
    bytes.remove_prefix(1);
  }
  if (protocol_.close_signal && channel_ == kCloseSignal) return Signal(bytes, last);
  if (protocol_.base64) return Base64(bytes, last);
  if (!bytes.empty()) sink_.OnData(channel_, bytes);
  return absl::OkStatus();
}

absl::Status ChannelDecoder::Signal(absl::string_view bytes, bool last) {
  signal_.append(bytes.data(), std::min<size_t>(bytes.size(), 2));
  if (signal_.size() > 1 || (last && signal_.empty())) {
    return absl::InvalidArgumentError("a close signal that does not name one channel");
  }
  if (last) sink_.OnCloseSignal(static_cast<uint8_t>(signal_[0]));
  return absl::OkStatus();
}

absl::Status ChannelDecoder::Base64(absl::string_view bytes, bool last) {
  std::string out;
  out.reserve(bytes.size() / 4 * 3 + 3);
  for (char c : bytes) {
    if (c == '\r' || c == '\n') continue;
    const int digit = DigitOf(c);
    const bool pad = c == '=' && digits_ >= 2;
    if (complete_ || (digit < 0 && !pad) || (padding_ > 0 && !pad)) return absl::InvalidArgumentError("not base64");
    padding_ += pad;
    bits_ = bits_ << 6 | static_cast<uint32_t>(pad ? 0 : digit);
    if (++digits_ < 4) continue;
    for (int i = 0; i < 3 - padding_; ++i) out += static_cast<char>(bits_ >> (16 - 8 * i));
    complete_ = padding_ > 0;
    bits_ = 0;
    digits_ = padding_ = 0;
  }
  if (last && digits_ != 0) return absl::InvalidArgumentError("base64 that is cut off");
  if (!out.empty()) sink_.OnData(channel_, out);
  return absl::OkStatus();
}

std::string EncodeMessage(ChannelProtocol protocol, uint8_t channel, absl::string_view bytes) {
  if (!protocol.base64) return std::string(1, static_cast<char>(channel));
  return absl::StrCat(std::string(1, static_cast<char>('0' + channel)), absl::Base64Escape(bytes));
}

}  // namespace berth::streaming
