// Flow control's counts, for one stream or for the session. Source: draft 3.1, section 2.6.8.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cri/streaming/spdy/frame.h"

namespace berth::streaming::spdy {

inline constexpr uint32_t kDefaultWindow = 64 * 1024;

// What we may send. Below zero when the peer has made its windows smaller, or has not kept any so far.
class SendingWindow {
 public:
  explicit SendingWindow(int64_t size) : left_(size) {}
  int64_t left() const { return left_; }
  void Sent(size_t bytes) { left_ -= static_cast<int64_t>(bytes); }
  // False when it would exceed what the draft allows.
  bool Grow(int64_t by) {
    left_ += by;
    return left_ <= int64_t{kMax31};
  }

 private:
  int64_t left_;
};

// What the peer may send. Opened again in steps of half its size.
class ReceivingWindow {
 public:
  explicit ReceivingWindow(uint32_t size) : left_(size), step_(std::max<uint32_t>(size / 2, 1)) {}

  int64_t left() const { return left_; }  // below zero when the peer does not keep to it
  void Received(size_t bytes) {
    left_ -= static_cast<int64_t>(bytes);
    held_ += bytes;
  }
  // How many of `bytes` were held.
  size_t Consumed(size_t bytes) {
    bytes = std::min(bytes, held_);
    held_ -= bytes;
    owed_ += bytes;
    return bytes;
  }
  size_t held() const { return held_; }
  bool due() const { return owed_ >= step_; }
  // What to tell the peer, that has not been told yet.
  uint32_t Update() {
    const size_t delta = std::min<size_t>(owed_, kMax31);
    owed_ -= delta;
    left_ += static_cast<int64_t>(delta);
    return static_cast<uint32_t>(delta);
  }

 private:
  int64_t left_;
  const size_t step_;
  size_t held_ = 0;  // received and not consumed
  size_t owed_ = 0;  // consumed and not told
};

}  // namespace berth::streaming::spdy
