#include "cri/streaming/spdy/frame_reader.h"

#include <algorithm>

namespace berth::streaming::spdy {
namespace {

bool Known(FrameType type) {
  switch (type) {
    case FrameType::kSynStream:
    case FrameType::kSynReply:
    case FrameType::kRstStream:
    case FrameType::kSettings:
    case FrameType::kPing:
    case FrameType::kGoAway:
    case FrameType::kHeaders:
    case FrameType::kWindowUpdate:
      return true;
  }
  return false;
}

absl::string_view Take(absl::string_view& bytes, size_t count) {
  const absl::string_view taken = bytes.substr(0, count);
  bytes.remove_prefix(taken.size());
  return taken;
}

}  // namespace

// Whether `wanted` bytes are gathered now.
bool FrameReader::Gather(absl::string_view& bytes, size_t wanted) {
  const absl::string_view taken = Take(bytes, wanted - gathered_.size());
  gathered_.append(taken.data(), taken.size());
  return gathered_.size() == wanted;
}

absl::StatusOr<std::optional<FrameReader::Part>> FrameReader::Next(absl::string_view& bytes) {
  if (!whole_.empty()) std::string().swap(whole_);
  for (;;) {
    if (!in_frame_) {
      if (!Gather(bytes, kFrameHeader)) return std::nullopt;
      header_ = DecodeHeader(gathered_.data());
      gathered_.clear();
      in_frame_ = first_ = true;
      left_ = header_.length;
      if (header_.control && header_.version != kVersion) {
        return absl::InvalidArgumentError(absl::StrCat("a frame of version ", header_.version));
      }
    }
    if (!header_.control) return Data(bytes);
    if (Known(header_.type)) return Control(bytes);
    left_ -= static_cast<uint32_t>(Take(bytes, left_).size());
    if (left_ != 0) return std::nullopt;
    in_frame_ = false;
  }
}

absl::StatusOr<std::optional<FrameReader::Part>> FrameReader::Control(absl::string_view& bytes) {
  if (header_.length > max_control_) {
    return absl::InvalidArgumentError(absl::StrCat("a control frame of ", header_.length, " bytes"));
  }
  Part part{.header = header_, .first = true, .last = true};
  if (gathered_.empty() && bytes.size() >= header_.length) {
    part.payload = Take(bytes, header_.length);
    in_frame_ = false;
    return part;
  }
  if (!Gather(bytes, header_.length)) return std::nullopt;
  in_frame_ = false;
  whole_.swap(gathered_);
  part.payload = whole_;
  return part;
}

std::optional<FrameReader::Part> FrameReader::Data(absl::string_view& bytes) {
  if (bytes.empty() && left_ != 0) return std::nullopt;
  Part part{.header = header_, .payload = Take(bytes, left_), .first = first_};
  left_ -= static_cast<uint32_t>(part.payload.size());
  part.last = left_ == 0;
  first_ = false;
  in_frame_ = !part.last;
  return part;
}

}  // namespace berth::streaming::spdy
