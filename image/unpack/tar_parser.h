// The tar format as a codec: archive bytes in, entries and file contents out. It knows no files, so it can be fuzzed.
// Reads V7, ustar and pax (POSIX.1-2017 pax, "ustar Interchange Format"), GNU long names, base-256 numbers and sparse
// files (GNU tar manual, "Basic Tar Format" and "Storing Sparse Files": old GNU, pax 0.0, 0.1 and 1.0).
// Where readers differ, it goes with what the writers of layers use (Go's archive/tar), but applies pax global headers.
// Not thread-safe.
#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"

namespace berth::image {

struct TarEntry {
  enum class Type { kFile, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };
  Type type = Type::kFile;
  std::string path;   // as in the archive: may be absolute, hold "..", or be any bytes but NUL
  std::string link;   // target of hard and symbolic links
  uint32_t mode = 0;  // the 07777 bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;  // of a file when all holes are filled in
  bool sparse = false;
  struct timespec mtime = {};
  uint32_t dev_major = 0;
  uint32_t dev_minor = 0;
  std::map<std::string, std::string> xattrs;  // SCHILY.xattr.*, values are any bytes
};

// What the parser tells. An error returned here ends the parsing and is returned as it is.
class TarVisitor {
 public:
  virtual ~TarVisitor() = default;
  virtual absl::Status OnEntry(const TarEntry& entry) = 0;
  // Contents of the last entry, a file; offsets rise, holes are left out. `stored` is where in the archive the bytes
  // are. They are valid during the call only.
  virtual absl::Status OnData(uint64_t offset, uint64_t stored, absl::string_view bytes) = 0;
  // After each entry's contents.
  virtual absl::Status OnEntryEnd() = 0;
};

class TarParser {
 public:
  static constexpr size_t kMaxPax = 1 << 20;       // bytes of one extended header
  static constexpr size_t kMaxPath = 4096;         // bytes of a path or link target
  static constexpr size_t kMaxSegments = 1 << 16;  // of one sparse file

  // `visitor` must outlive the parser.
  explicit TarParser(TarVisitor* visitor, UnpackLimits limits = {}) : visitor_(visitor), limits_(limits) {}

  // InvalidArgument: malformed. Unimplemented: an entry type that layers do not have (multi-volume and the like).
  // ResourceExhausted: a limit. Everything after the end-of-archive mark is ignored.
  absl::Status Write(absl::string_view bytes);
  // DataLoss when the archive ends in the middle of an entry. A missing end-of-archive mark is fine.
  absl::Status Finish();

 private:
  enum class State { kHeader, kZeroBlock, kPax, kLongName, kSparseExtension, kSparseMap, kData, kPadding, kEnd };
  struct Segment {
    uint64_t offset, size;
  };
  using Records = std::map<std::string, std::string>;

  absl::Status Block();
  absl::Status Header();
  absl::Status BeginMeta(char type, uint64_t size);
  absl::Status EndMeta();
  absl::Status BeginEntry(char type, uint64_t stored);
  absl::Status FillFromHeader(char type, uint64_t* stored);
  absl::Status FillFromRecords();
  absl::Status FillSparse(char type, bool* map_in_data);
  absl::Status AddSegment(uint64_t offset, uint64_t size);
  absl::Status SparseExtension();
  absl::Status SparseMapBlock();
  absl::Status Announce();
  absl::Status Data(absl::string_view* bytes);
  absl::Status EndEntry();
  absl::Status ParseRecords(absl::string_view text, Records* records);
  const std::string* Record(const char* key) const;
  absl::string_view Field(size_t offset, size_t size) const;
  absl::Status Malformed(absl::string_view what) const;

  TarVisitor* const visitor_;
  const UnpackLimits limits_;
  State state_ = State::kHeader;
  char block_[512];
  uint64_t offset_ = 0;   // in the archive, of the next byte
  size_t have_ = 0;       // bytes of block_
  uint64_t left_ = 0;     // stored bytes of the entry or metadata still to come
  uint64_t padding_ = 0;  // bytes to skip after them
  uint64_t entries_ = 0;
  char meta_type_ = 0;
  uint64_t map_lines_ = 0;  // of a sparse map being collected
  std::string meta_;        // extended header, long name or sparse map being collected
  Records global_, local_;
  std::string long_name_, long_link_;
  TarEntry entry_;
  std::vector<Segment> segments_;  // of a sparse file; they hold left_ bytes in all
  size_t segment_ = 0;
  uint64_t position_ = 0;  // logical offset of the next byte
};

}  // namespace berth::image
