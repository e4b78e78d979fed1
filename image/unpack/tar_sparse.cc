// Sparse files and contents: the part of TarParser that turns stored bytes into positions in a file.
#include <algorithm>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_split.h"
#include "image/unpack/tar_numbers.h"
#include "image/unpack/tar_parser.h"

namespace berth::image {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kPair = 24;  // two 12-byte numbers
constexpr size_t kSparseOffset = 386, kSparsePairs = 4;
constexpr size_t kRealSizeOffset = 483, kRealSizeSize = 12;
constexpr size_t kExtensionPairs = 21, kExtensionMoreOffset = 504;

}  // namespace

absl::Status TarParser::AddSegment(uint64_t offset, uint64_t size) {
  if (segments_.size() >= kMaxSegments) {
    return absl::ResourceExhaustedError(
        absl::StrCat("tar entry '", absl::CEscape(entry_.path), "' has more than ", kMaxSegments, " segments"));
  }
  uint64_t after = segments_.empty() ? 0 : segments_.back().offset + segments_.back().size;
  if (offset < after || offset > entry_.size || size > entry_.size - offset) {
    return Malformed("the sparse map is out of order or beyond the file's end");
  }
  segments_.push_back({offset, size});
  return absl::OkStatus();
}

absl::Status TarParser::FillSparse(char type, bool* map_in_data) {
  if (type == 'S') {
    auto size = ParseTarNumber(Field(kRealSizeOffset, kRealSizeSize));
    if (!size || *size < 0) return Malformed("malformed size of a sparse file");
    entry_.size = static_cast<uint64_t>(*size);
    entry_.sparse = true;
    for (size_t i = 0; i < kSparsePairs && block_[kSparseOffset + i * kPair] != 0; ++i) {
      auto offset = ParseTarNumber(Field(kSparseOffset + i * kPair, kPair / 2));
      auto bytes = ParseTarNumber(Field(kSparseOffset + i * kPair + kPair / 2, kPair / 2));
      if (!offset || !bytes || *offset < 0 || *bytes < 0) return Malformed("malformed sparse map");
      RETURN_IF_ERROR(AddSegment(static_cast<uint64_t>(*offset), static_cast<uint64_t>(*bytes)));
    }
    return absl::OkStatus();
  }
  const std::string* major = Record("GNU.sparse.major");
  const std::string* map = Record("GNU.sparse.map");
  bool in_data = major != nullptr && *major != "0";
  if (!in_data && map == nullptr) return absl::OkStatus();
  const std::string* minor = Record("GNU.sparse.minor");
  if (in_data && (*major != "1" || minor == nullptr || *minor != "0")) {
    return absl::UnimplementedError(
        absl::StrCat("tar entry '", absl::CEscape(entry_.path), "' has a sparse format newer than 1.0"));
  }
  if (const std::string* name = Record("GNU.sparse.name")) entry_.path = *name;
  if (entry_.path.size() > kMaxPath) return Malformed("path is too long");
  const std::string* size = Record("GNU.sparse.realsize");
  if (size == nullptr) size = Record("GNU.sparse.size");
  auto real = size == nullptr ? std::nullopt : ParsePaxNumber(*size);
  if (!real || *real > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return Malformed("malformed size of a sparse file");
  }
  entry_.size = *real;
  entry_.sparse = true;
  *map_in_data = in_data;
  if (in_data) return absl::OkStatus();
  std::vector<absl::string_view> numbers = absl::StrSplit(*map, ',', absl::SkipEmpty());
  if (numbers.size() % 2 != 0) return Malformed("malformed sparse map");
  for (size_t i = 0; i < numbers.size(); i += 2) {
    auto offset = ParsePaxNumber(numbers[i]), bytes = ParsePaxNumber(numbers[i + 1]);
    if (!offset || !bytes) return Malformed("malformed sparse map");
    RETURN_IF_ERROR(AddSegment(*offset, *bytes));
  }
  return absl::OkStatus();
}

absl::Status TarParser::SparseExtension() {
  for (size_t i = 0; i < kExtensionPairs && block_[i * kPair] != 0; ++i) {
    auto offset = ParseTarNumber(Field(i * kPair, kPair / 2));
    auto bytes = ParseTarNumber(Field(i * kPair + kPair / 2, kPair / 2));
    if (!offset || !bytes || *offset < 0 || *bytes < 0) return Malformed("malformed sparse map");
    RETURN_IF_ERROR(AddSegment(static_cast<uint64_t>(*offset), static_cast<uint64_t>(*bytes)));
  }
  return block_[kExtensionMoreOffset] != 0 ? absl::OkStatus() : Announce();
}

// pax sparse 1.0: the contents begin with decimal numbers, one a line, padded to whole blocks: how many segments, then
// an offset and a size of each.
absl::Status TarParser::SparseMapBlock() {
  if (left_ < kBlock) return Malformed("the sparse map is longer than the contents");
  left_ -= kBlock;
  meta_.append(block_, kBlock);
  if (meta_.size() > kMaxSegments * 2 * 21) return Malformed("the sparse map is too long");
  size_t first_end = meta_.find('\n');
  if (first_end == std::string::npos) {
    return meta_.size() > kBlock ? Malformed("malformed sparse map") : absl::OkStatus();
  }
  auto count = ParsePaxNumber(absl::string_view(meta_).substr(0, first_end));
  if (!count || *count > kMaxSegments) return Malformed("malformed sparse map");
  uint64_t lines = 1 + 2 * *count;
  // Only the block just added can hold the last line, so this is looked at once a block.
  map_lines_ += static_cast<uint64_t>(std::count(block_, block_ + kBlock, '\n'));
  if (map_lines_ < lines) return absl::OkStatus();
  std::vector<absl::string_view> numbers = absl::StrSplit(meta_, '\n');
  for (size_t i = 1; i < lines; i += 2) {
    auto offset = ParsePaxNumber(numbers[i]), bytes = ParsePaxNumber(numbers[i + 1]);
    if (!offset || !bytes) return Malformed("malformed sparse map");
    RETURN_IF_ERROR(AddSegment(*offset, *bytes));
  }
  return Announce();
}

// All that there is to know of the entry is known.
absl::Status TarParser::Announce() {
  if (!entry_.sparse) {
    segments_.assign(1, {0, left_});
  } else {
    uint64_t sum = 0;  // cannot overflow: segments do not overlap and end within the file
    for (const Segment& s : segments_) sum += s.size;
    if (sum != left_) return Malformed("the sparse map does not fit the contents");
  }
  segment_ = 0;
  position_ = segments_.empty() ? 0 : segments_[0].offset;
  RETURN_IF_ERROR(visitor_->OnEntry(entry_));
  state_ = State::kData;
  return left_ == 0 ? EndEntry() : absl::OkStatus();
}

absl::Status TarParser::Data(absl::string_view* bytes) {
  const Segment& segment = segments_[segment_];
  uint64_t in_segment = segment.offset + segment.size - position_;
  if (in_segment == 0) {
    position_ = segments_[++segment_].offset;
    return absl::OkStatus();
  }
  size_t n = std::min<uint64_t>(in_segment, bytes->size());
  RETURN_IF_ERROR(visitor_->OnData(position_, offset_, bytes->substr(0, n)));
  position_ += n;
  left_ -= n;
  bytes->remove_prefix(n);
  return left_ == 0 ? EndEntry() : absl::OkStatus();
}

absl::Status TarParser::EndEntry() {
  state_ = padding_ > 0 ? State::kPadding : State::kHeader;
  return visitor_->OnEntryEnd();
}

}  // namespace berth::image
