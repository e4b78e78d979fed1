#include "image/unpack/tar_parser.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "image/unpack/tar_numbers.h"

namespace berth::image {
namespace {

constexpr size_t kBlock = 512;

// Offset and size of the fields of a header block.
struct At {
  size_t offset, size;
};
constexpr At kName = {0, 100}, kMode = {100, 8}, kUid = {108, 8}, kGid = {116, 8}, kSize = {124, 12},
             kMtime = {136, 12}, kLink = {157, 100}, kMagic = {257, 8}, kMajor = {329, 8}, kMinor = {337, 8};
constexpr size_t kTypeOffset = 156, kPrefixOffset = 345;
constexpr size_t kPrefixSize = 155, kStarPrefixSize = 131, kStarTrailerOffset = 508;
constexpr size_t kSparseMoreOffset = 482;  // old GNU sparse: an extension of the map follows

constexpr absl::string_view kXattr = "SCHILY.xattr.";
constexpr size_t kMaxXattrValue = 65536;  // XATTR_SIZE_MAX of Linux

absl::string_view UpToNul(absl::string_view s) { return s.substr(0, s.find('\0')); }

uint64_t PaddingOf(uint64_t size) { return (kBlock - size % kBlock) % kBlock; }

bool FitsId(int64_t id) { return id >= 0 && id < std::numeric_limits<uint32_t>::max(); }

}  // namespace

absl::string_view TarParser::Field(size_t offset, size_t size) const { return {block_ + offset, size}; }

absl::Status TarParser::Malformed(absl::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat("tar entry ", entries_, " '", absl::CEscape(entry_.path.substr(0, 256)), "': ", what));
}

const std::string* TarParser::Record(const char* key) const {
  for (const Records* records : {&local_, &global_}) {
    if (auto it = records->find(key); it != records->end()) return it->second.empty() ? nullptr : &it->second;
  }
  return nullptr;
}

absl::Status TarParser::Write(absl::string_view bytes) {
  while (!bytes.empty()) {
    const size_t before = bytes.size();
    size_t n = 0;
    switch (state_) {
      case State::kEnd:
        return absl::OkStatus();
      case State::kData:
        RETURN_IF_ERROR(Data(&bytes));
        break;
      case State::kPadding:
        n = std::min<uint64_t>(padding_, bytes.size());
        padding_ -= n;
        if (padding_ == 0) state_ = State::kHeader;
        break;
      case State::kPax:
      case State::kLongName:
        n = std::min<uint64_t>(left_, bytes.size());
        meta_.append(bytes.data(), n);
        left_ -= n;
        if (left_ == 0) RETURN_IF_ERROR(EndMeta());
        break;
      default:
        n = std::min(kBlock - have_, bytes.size());
        memcpy(block_ + have_, bytes.data(), n);
        have_ += n;
        if (have_ == kBlock) {
          have_ = 0;
          RETURN_IF_ERROR(Block());
        }
    }
    bytes.remove_prefix(n);
    offset_ += before - bytes.size();
  }
  return absl::OkStatus();
}

absl::Status TarParser::Finish() {
  bool ended = state_ == State::kEnd || state_ == State::kZeroBlock;
  bool announced = !local_.empty() || !long_name_.empty() || !long_link_.empty();  // an entry that does not come
  // Writers that leave out the padding of the last file exist; nothing is lost with it.
  bool between = (state_ == State::kHeader && have_ == 0) || state_ == State::kPadding;
  if (ended || (between && !announced)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("tar archive ends in the middle of entry ", entries_, " '",
                                          absl::CEscape(entry_.path.substr(0, 256)), "'"));
}

absl::Status TarParser::Block() {
  if (state_ == State::kSparseExtension) return SparseExtension();
  if (state_ == State::kSparseMap) return SparseMapBlock();
  bool zero = std::all_of(block_, block_ + kBlock, [](char c) { return c == 0; });
  if (state_ == State::kZeroBlock) {
    state_ = State::kEnd;
    return zero ? absl::OkStatus() : Malformed("a zero block is followed by something else");
  }
  if (zero) {
    state_ = State::kZeroBlock;
    return absl::OkStatus();
  }
  return Header();
}

absl::Status TarParser::Header() {
  if (!TarChecksumMatches(block_)) return Malformed("the header after it has a wrong checksum");
  char type = block_[kTypeOffset];
  auto size = ParseTarNumber(Field(kSize.offset, kSize.size));
  if (!size || *size < 0) return Malformed("the header after it has a malformed size");
  if (absl::StrContains("xgLK", absl::string_view(&type, 1))) return BeginMeta(type, static_cast<uint64_t>(*size));
  return BeginEntry(type, static_cast<uint64_t>(*size));
}

absl::Status TarParser::BeginMeta(char type, uint64_t size) {
  bool pax = type == 'x' || type == 'g';
  // A long name ends with a NUL.
  if (size > (pax ? kMaxPax : kMaxPath + 1)) {
    return absl::ResourceExhaustedError(
        absl::StrCat("tar: ", pax ? "extended header" : "long name", " of ", size, " bytes after entry ", entries_));
  }
  meta_type_ = type;
  meta_.clear();
  left_ = size;
  padding_ = PaddingOf(size);
  state_ = pax ? State::kPax : State::kLongName;
  return size == 0 ? EndMeta() : absl::OkStatus();
}

absl::Status TarParser::EndMeta() {
  state_ = padding_ > 0 ? State::kPadding : State::kHeader;
  switch (meta_type_) {
    case 'L':
      long_name_ = std::string(UpToNul(meta_));
      return absl::OkStatus();
    case 'K':
      long_link_ = std::string(UpToNul(meta_));
      return absl::OkStatus();
    case 'x':
      local_.clear();
      return ParseRecords(meta_, &local_);
    default: {
      Records records;
      RETURN_IF_ERROR(ParseRecords(meta_, &records));
      // What a name, a size or attributes of all entries would mean is anybody's guess; the rest is bounded.
      for (const char* key : {"uid", "gid", "mtime"}) {
        if (auto it = records.find(key); it != records.end()) global_[key] = it->second;
      }
      return absl::OkStatus();
    }
  }
}

// Records are "LENGTH KEY=VALUE\n", LENGTH counting all of it.
absl::Status TarParser::ParseRecords(absl::string_view text, Records* records) {
  std::string sparse_map;  // pax sparse 0.0 repeats two keys for each segment: gathered into the form of 0.1
  while (!text.empty()) {
    size_t space = text.substr(0, 20).find(' ');
    auto length = ParsePaxNumber(text.substr(0, space));
    if (space == absl::string_view::npos || !length || *length < space + 4 || *length > text.size() ||
        text[*length - 1] != '\n') {
      return Malformed("the extended header after it is malformed");
    }
    absl::string_view record = text.substr(space + 1, *length - space - 2);
    text.remove_prefix(*length);
    size_t equals = record.find('=');
    if (equals == absl::string_view::npos || equals == 0) return Malformed("an extended header record has no key");
    std::string key(record.substr(0, equals));
    absl::string_view value = record.substr(equals + 1);
    bool xattr = absl::StartsWith(key, kXattr);
    if (absl::StrContains(key, absl::string_view("\0", 1)) ||
        (!xattr && absl::StrContains(value, absl::string_view("\0", 1)))) {
      return Malformed(absl::StrCat("extended header record '", absl::CEscape(key), "' holds a NUL"));
    }
    if (xattr && value.size() > kMaxXattrValue) {
      return Malformed(absl::StrCat("attribute '", absl::CEscape(key), "' has ", value.size(), " bytes"));
    }
    if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
      absl::StrAppend(&sparse_map, sparse_map.empty() ? "" : ",", value);
    }
    (*records)[key] = std::string(value);
  }
  if (!sparse_map.empty()) (*records)["GNU.sparse.map"] = sparse_map;
  return absl::OkStatus();
}

absl::Status TarParser::BeginEntry(char type, uint64_t stored) {
  if (++entries_ > limits_.max_entries) {
    return absl::ResourceExhaustedError(absl::StrCat("tar: more than ", limits_.max_entries, " entries"));
  }
  entry_ = TarEntry();
  segments_.clear();
  RETURN_IF_ERROR(FillFromHeader(type, &stored));
  RETURN_IF_ERROR(FillFromRecords());
  if (entry_.path.size() > kMaxPath || entry_.link.size() > kMaxPath) return Malformed("path is too long");
  bool legacy_directory = type == '\0' && absl::EndsWith(entry_.path, "/");
  if (legacy_directory) {
    entry_.type = TarEntry::Type::kDirectory;
    if (stored != 0) return Malformed("a directory has contents");
  }
  if (entry_.type != TarEntry::Type::kFile) stored = 0;  // sizes of links and the like mean nothing
  entry_.size = left_ = stored;
  padding_ = PaddingOf(stored);
  bool map_in_data = false;
  if (entry_.type == TarEntry::Type::kFile) RETURN_IF_ERROR(FillSparse(type, &map_in_data));
  local_.clear();
  long_name_.clear();
  long_link_.clear();
  if (entry_.size > limits_.max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("tar entry '", absl::CEscape(entry_.path), "' has ", entry_.size, " bytes"));
  }
  if (type == 'S' && block_[kSparseMoreOffset] != 0) {
    state_ = State::kSparseExtension;
    return absl::OkStatus();
  }
  if (map_in_data) {
    state_ = State::kSparseMap;
    meta_.clear();
    map_lines_ = 0;
    return absl::OkStatus();
  }
  return Announce();
}

absl::Status TarParser::FillFromHeader(char type, uint64_t* stored) {
  using Type = TarEntry::Type;
  bool posix = Field(kMagic.offset, 6) == absl::string_view("ustar\0", 6);
  entry_.path = std::string(UpToNul(Field(kName.offset, kName.size)));
  if (posix) {
    bool star = Field(kStarTrailerOffset, 4) == absl::string_view("tar\0", 4);
    absl::string_view prefix = UpToNul(Field(kPrefixOffset, star ? kStarPrefixSize : kPrefixSize));
    if (!prefix.empty()) entry_.path = absl::StrCat(prefix, "/", entry_.path);
  }
  entry_.link = std::string(UpToNul(Field(kLink.offset, kLink.size)));
  switch (type) {
    case '\0':
    case '0':
    case '7':
    case 'S':
      entry_.type = Type::kFile;
      break;
    case '1':
      entry_.type = Type::kHardLink;
      break;
    case '2':
      entry_.type = Type::kSymlink;
      break;
    case '3':
      entry_.type = Type::kCharDevice;
      break;
    case '4':
      entry_.type = Type::kBlockDevice;
      break;
    case '5':
      entry_.type = Type::kDirectory;
      break;
    case '6':
      entry_.type = Type::kFifo;
      break;
    default:
      return absl::UnimplementedError(absl::StrCat("tar entry '", absl::CEscape(entry_.path), "' has type '",
                                                   absl::CEscape(absl::string_view(&type, 1)), "'"));
  }
  auto mode = ParseTarNumber(Field(kMode.offset, kMode.size));
  auto uid = ParseTarNumber(Field(kUid.offset, kUid.size));
  auto gid = ParseTarNumber(Field(kGid.offset, kGid.size));
  auto mtime = ParseTarNumber(Field(kMtime.offset, kMtime.size));
  if (!mode || *mode < 0) return Malformed("malformed mode");
  if (!mtime) return Malformed("malformed mtime");
  // Ids that do not fit their field are written there as anything; the extended header then has them.
  if (!Record("uid") && (!uid || !FitsId(*uid))) return Malformed("malformed uid");
  if (!Record("gid") && (!gid || !FitsId(*gid))) return Malformed("malformed gid");
  entry_.mode = static_cast<uint32_t>(*mode) & 07777;
  entry_.uid = static_cast<uint32_t>(uid.value_or(0));
  entry_.gid = static_cast<uint32_t>(gid.value_or(0));
  entry_.mtime.tv_sec = *mtime;
  bool device = entry_.type == Type::kCharDevice || entry_.type == Type::kBlockDevice;
  if (device) {
    auto major = ParseTarNumber(Field(kMajor.offset, kMajor.size));
    auto minor = ParseTarNumber(Field(kMinor.offset, kMinor.size));
    // Linux: 12 bits of major, 20 of minor.
    if (!major || !minor || *major < 0 || *major >= 1 << 12 || *minor < 0 || *minor >= 1 << 20) {
      return Malformed("malformed device number");
    }
    entry_.dev_major = static_cast<uint32_t>(*major);
    entry_.dev_minor = static_cast<uint32_t>(*minor);
  }
  if (type == 'S' && Field(kMagic.offset, 8) != absl::string_view("ustar  \0", 8)) {
    return Malformed("sparse entry outside a GNU archive");
  }
  if (auto* size = Record("size")) {
    auto value = ParsePaxNumber(*size);
    if (!value || *value > uint64_t{std::numeric_limits<int64_t>::max()}) return Malformed("malformed size record");
    *stored = *value;
  }
  return absl::OkStatus();
}

absl::Status TarParser::FillFromRecords() {
  if (auto* path = Record("path")) entry_.path = *path;
  if (auto* link = Record("linkpath")) entry_.link = *link;
  if (!long_name_.empty()) entry_.path = long_name_;
  if (!long_link_.empty()) entry_.link = long_link_;
  for (auto [key, id] : {std::pair("uid", &entry_.uid), std::pair("gid", &entry_.gid)}) {
    auto* text = Record(key);
    if (text == nullptr) continue;
    auto value = ParsePaxNumber(*text);
    if (!value || *value >= std::numeric_limits<uint32_t>::max()) {
      return Malformed(absl::StrCat("malformed ", key, " record"));
    }
    *id = static_cast<uint32_t>(*value);
  }
  if (auto* text = Record("mtime")) {
    auto value = ParsePaxTime(*text);
    if (!value) return Malformed("malformed mtime record");
    entry_.mtime = *value;
  }
  for (const auto& [key, value] : local_) {
    if (absl::StartsWith(key, kXattr) && key.size() > kXattr.size()) {
      entry_.xattrs[key.substr(kXattr.size())] = value;
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::image
