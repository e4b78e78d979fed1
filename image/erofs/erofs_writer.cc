#include "image/erofs/erofs_writer.h"

#include <isa-l/crc.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "image/content/digest.h"
#include "image/content/read_range.h"
#include "image/erofs/directory_blocks.h"
#include "image/erofs/erofs_format.h"
#include "image/erofs/little_endian.h"

namespace berth::image {
namespace {

using namespace erofs;  // NOLINT: the format's vocabulary

constexpr uint64_t kFirstSlot = 8;            // an inode's number is never 0
constexpr size_t kMaxInline = 256;            // larger directories and targets get blocks of their own
constexpr uint32_t kLeastChunkBits = 3;       // 4 KiB
constexpr uint64_t kMaxChunkCount = 1 << 16;  // of one file
// Their map takes 64 MiB, and an archive a block for a hole of any size.
constexpr uint64_t kMaxChunksInAll = 16 << 20;
constexpr size_t kCopyBuffer = 256 << 10;

uint64_t RoundUp(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

struct XattrPrefix {
  absl::string_view prefix;
  uint8_t index;
};
constexpr XattrPrefix kXattrPrefixes[] = {
    {"user.", 1}, {"system.posix_acl_access", 2}, {"system.posix_acl_default", 3}, {"trusted.", 4}, {"security.", 6}};

const XattrPrefix& PrefixOf(absl::string_view name) {
  for (const XattrPrefix& prefix : kXattrPrefixes) {
    if (absl::StartsWith(name, prefix.prefix)) return prefix;
  }
  return kXattrPrefixes[0];  // not reached: names were filtered
}

size_t XattrSize(const TreeNode& node) {
  if (node.xattrs.empty()) return 0;
  size_t size = kXattrHeader;
  for (const auto& [name, value] : node.xattrs) {
    size += RoundUp(kXattrEntry + name.size() - PrefixOf(name).prefix.size() + value.size(), 4);
  }
  return size;
}

// Chunks of a sparse file: as small as they can be without becoming too many.
uint32_t ChunkBits(const TreeNode& node) {
  uint32_t bits = kLeastChunkBits;
  while (bits < kMaxChunkBits && (node.size >> (kBlockBits + bits)) >= kMaxChunkCount) ++bits;
  return bits;
}
uint64_t ChunkSize(const TreeNode& node) { return kBlock << ChunkBits(node); }
uint64_t ChunkCount(const TreeNode& node) { return RoundUp(node.size, ChunkSize(node)) / ChunkSize(node); }

// Calls `visit` with the number of each chunk that has contents, in order.
template <typename Visit>
uint64_t ForEachUsedChunk(const TreeNode& node, Visit visit) {
  const uint64_t chunk_size = ChunkSize(node);
  uint64_t next = 0, used = 0;
  for (const TreeNode::Extent& extent : node.extents) {
    if (extent.size == 0) continue;
    const uint64_t last = (extent.offset + extent.size - 1) / chunk_size;
    for (uint64_t chunk = std::max(next, extent.offset / chunk_size); chunk <= last; ++chunk, ++used)
      visit(chunk, used);
    next = std::max(next, last + 1);
  }
  return used;
}

// Appends to a file in large pieces, and hashes what it appends.
class Appender {
 public:
  Appender(int file, uint64_t at, Hasher& hasher) : file_(file), at_(at), hasher_(hasher) {}

  uint64_t at() const { return at_ + buffer_.size(); }
  absl::Status Write(absl::string_view bytes) {
    buffer_.append(bytes.data(), bytes.size());
    return buffer_.size() >= kCopyBuffer ? Flush() : absl::OkStatus();
  }
  absl::Status PadTo(uint64_t offset) { return Write(std::string(offset - at(), '\0')); }
  absl::Status Flush();

 private:
  const int file_;
  uint64_t at_;  // of the buffer
  Hasher& hasher_;
  std::string buffer_;
};

absl::Status WriteAt(int file, absl::string_view bytes, uint64_t offset) {
  while (!bytes.empty()) {
    ssize_t n = pwrite(file, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoError(errno, "write of a layer's index");
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::Status Appender::Flush() {
  hasher_.Update(buffer_);
  RETURN_IF_ERROR(WriteAt(file_, buffer_, at_));
  at_ += buffer_.size();
  buffer_.clear();
  return absl::OkStatus();
}

class Writer {
 public:
  Writer(int file, uint64_t archive_size, TreeNode& root, ClaimSpace claim) : file_(file), root_(root), claim_(claim) {
    end_of_data_ = RoundUp(kArchiveAt + archive_size, kBlock);
  }

  absl::StatusOr<ErofsIndex> Run() {
    Collect();
    for (const Placed& placed : order_) RETURN_IF_ERROR(CopySparse(*placed.node));
    meta_at_ = end_of_data_;
    RETURN_IF_ERROR(PlaceInodes());
    PlaceBlocks();
    if (end_ / kBlock > kMaxBlocks) return absl::ResourceExhaustedError("the layer is larger than 2 TiB");
    RETURN_IF_ERROR(claim_(end_ - meta_at_));
    const std::string super = Super();
    hasher_.Update(super);
    Appender out(file_, meta_at_, hasher_);
    RETURN_IF_ERROR(WriteInodes(out));
    RETURN_IF_ERROR(WriteBlocks(out));
    RETURN_IF_ERROR(out.PadTo(end_));
    RETURN_IF_ERROR(out.Flush());
    RETURN_IF_ERROR(WriteAt(file_, super, kSuperAt));
    return ErofsIndex{meta_at_, end_ - meta_at_, hasher_.Finish()};
  }

 private:
  struct Placed {
    TreeNode* node;
    const TreeNode* parent;
  };

  // Every node once, parents before children.
  void Collect() {
    std::vector<Placed> todo = {{&root_, &root_}};
    while (!todo.empty()) {
      Placed next = todo.back();
      todo.pop_back();
      if (next.node->number != 0) continue;  // another name of a file
      next.node->number = 1;
      if (next.node->is_directory()) next.node->size = DirectorySize(*next.node);
      order_.push_back(next);
      for (auto it = next.node->children.rbegin(); it != next.node->children.rend(); ++it) {
        todo.push_back({it->second, next.node});
      }
    }
  }

  // An archive has what a sparse file holds without its holes; here it gets whole chunks.
  absl::Status CopySparse(TreeNode& node) {
    if (!node.sparse) return absl::OkStatus();
    has_chunks_ = true;
    const uint64_t chunk_size = ChunkSize(node);
    node.place = end_of_data_;
    std::vector<std::pair<uint64_t, uint64_t>> where;  // of chunks, in order
    const uint64_t used = ForEachUsedChunk(node, [&](uint64_t chunk, uint64_t i) { where.emplace_back(chunk, i); });
    std::string buffer;
    auto chunk = where.begin();
    for (const TreeNode::Extent& extent : node.extents) {
      for (uint64_t done = 0; done < extent.size;) {
        const uint64_t at = extent.offset + done;
        while (chunk->first < at / chunk_size) ++chunk;
        const uint64_t in_chunk = at % chunk_size;
        const uint64_t n = std::min<uint64_t>({extent.size - done, chunk_size - in_chunk, kCopyBuffer});
        buffer.resize(n);
        RETURN_IF_ERROR(claim_(std::max(n, kArchiveAt)));  // a page at least
        RETURN_IF_ERROR(ReadAt(buffer, kArchiveAt + extent.stored + done));
        RETURN_IF_ERROR(WriteAt(file_, buffer, node.place + chunk->second * chunk_size + in_chunk));
        done += n;
      }
    }
    end_of_data_ += used * chunk_size;
    return absl::OkStatus();
  }

  absl::Status ReadAt(std::string& buffer, uint64_t offset) {
    for (size_t have = 0; have < buffer.size();) {
      ssize_t n = pread(file_, buffer.data() + have, buffer.size() - have, static_cast<off_t>(offset + have));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return ErrnoError(n < 0 ? errno : EIO, "read of a layer's archive");
      have += static_cast<size_t>(n);
    }
    return absl::OkStatus();
  }

  // Bytes of a directory or a target.
  static uint64_t BodySize(const TreeNode& node) { return node.is_directory() ? node.size : node.target.size(); }
  static Layout LayoutOf(const TreeNode& node) {
    if (node.sparse) return kChunks;
    const uint64_t body = BodySize(node);
    return body > 0 && body <= kMaxInline ? kInline : kPlain;
  }

  // What lies in an inode's body must not reach into the next block.
  absl::Status PlaceInodes() {
    uint64_t at = kFirstSlot * kSlot, chunks = 0;
    for (const Placed& placed : order_) {
      TreeNode& node = *placed.node;
      const size_t xattrs = XattrSize(node);
      if (xattrs > (kMaxXattrs - 1) * 4) {
        return absl::InvalidArgumentError("extended attributes of one file that take more than 256 KiB");
      }
      uint64_t size = kInodeSize + xattrs;
      switch (LayoutOf(node)) {
        case kInline:
          while ((at + size) % kBlock + BodySize(node) > kBlock) at += kSlot;
          size += BodySize(node);
          break;
        case kChunks:
          size += ChunkCount(node) * 4;
          chunks += ChunkCount(node);
          if (chunks > kMaxChunksInAll) return absl::ResourceExhaustedError("too many large sparse files in one layer");
          break;
        case kPlain:
          break;
      }
      node.number = at / kSlot;
      at = RoundUp(at + size, kSlot);
    }
    end_of_inodes_ = meta_at_ + at;
    return absl::OkStatus();
  }

  void PlaceBlocks() {
    uint64_t at = RoundUp(end_of_inodes_, kBlock);
    for (const Placed& placed : order_) {
      TreeNode& node = *placed.node;
      if (node.sparse || LayoutOf(node) != kPlain || BodySize(node) == 0) continue;
      node.place = at;
      at = RoundUp(at + BodySize(node), kBlock);
    }
    end_ = RoundUp(at, kArchiveAt);  // whole pages: what is mapped into memory ends on one
  }

  uint32_t DataOf(const TreeNode& node) const {
    if (S_ISCHR(node.mode) || S_ISBLK(node.mode)) {
      const uint32_t major = gnu_dev_major(node.device), minor = gnu_dev_minor(node.device);
      return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
    }
    if (node.sparse) return ChunkBits(node);
    if (S_ISREG(node.mode)) return node.size == 0 ? 0 : static_cast<uint32_t>((kArchiveAt + node.stored) / kBlock);
    return static_cast<uint32_t>(node.place / kBlock);
  }

  absl::Status WriteInodes(Appender& out) {
    for (const auto& [node, parent] : order_) {
      RETURN_IF_ERROR(out.PadTo(meta_at_ + node->number * kSlot));
      const Layout layout = LayoutOf(*node);
      const size_t xattrs = XattrSize(*node);
      std::string bytes;
      Put16(bytes, static_cast<uint16_t>(kExtended | layout << kLayoutBit));
      Put16(bytes, static_cast<uint16_t>(xattrs == 0 ? 0 : (xattrs - kXattrHeader) / 4 + 1));
      Put16(bytes, static_cast<uint16_t>(node->mode));
      Put16(bytes, 0);
      Put64(bytes, S_ISREG(node->mode) ? node->size : BodySize(*node));
      Put32(bytes, DataOf(*node));
      Put32(bytes, static_cast<uint32_t>(node->number));
      Put32(bytes, node->uid);
      Put32(bytes, node->gid);
      Put64(bytes, static_cast<uint64_t>(node->mtime.tv_sec));
      Put32(bytes, static_cast<uint32_t>(node->mtime.tv_nsec));
      Put32(bytes, node->is_directory() ? DirectoryLinks(*node) : node->links);
      bytes.resize(kInodeSize);
      PutXattrs(bytes, *node);
      if (layout == kInline) bytes += BodyOf(*node, *parent);
      RETURN_IF_ERROR(out.Write(bytes));
      if (layout == kChunks) RETURN_IF_ERROR(WriteChunks(out, *node));
    }
    return absl::OkStatus();
  }

  static void PutXattrs(std::string& bytes, const TreeNode& node) {
    if (node.xattrs.empty()) return;
    bytes.append(kXattrHeader, '\0');
    for (const auto& [name, value] : node.xattrs) {
      const XattrPrefix& prefix = PrefixOf(name);
      const absl::string_view rest = absl::string_view(name).substr(prefix.prefix.size());
      Put8(bytes, static_cast<uint8_t>(rest.size()));
      Put8(bytes, prefix.index);
      Put16(bytes, static_cast<uint16_t>(value.size()));
      absl::StrAppend(&bytes, rest, value);
      bytes.resize(RoundUp(bytes.size(), 4));
    }
  }

  static std::string BodyOf(const TreeNode& node, const TreeNode& parent) {
    return node.is_directory() ? DirectoryBlocks(node, parent) : node.target;
  }

  static absl::Status WriteChunks(Appender& out, const TreeNode& node) {
    const uint64_t blocks_of_chunk = ChunkSize(node) / kBlock;
    std::vector<uint32_t> map(ChunkCount(node), kHole);
    ForEachUsedChunk(node, [&](uint64_t chunk, uint64_t i) {
      map[chunk] = static_cast<uint32_t>(node.place / kBlock + i * blocks_of_chunk);
    });
    std::string bytes;
    for (uint32_t block : map) Put32(bytes, block);
    return out.Write(bytes);
  }

  absl::Status WriteBlocks(Appender& out) {
    for (const auto& [node, parent] : order_) {
      if (node->sparse || LayoutOf(*node) != kPlain || BodySize(*node) == 0) continue;
      RETURN_IF_ERROR(out.PadTo(node->place));
      RETURN_IF_ERROR(out.Write(BodyOf(*node, *parent)));
    }
    return absl::OkStatus();
  }

  std::string Super() const {
    std::string bytes;
    Put32(bytes, kMagic);
    Put32(bytes, 0);  // the checksum
    Put32(bytes, kHasChecksum | kHasMtime);
    Put8(bytes, kBlockBits);
    Put8(bytes, 0);
    Put16(bytes, static_cast<uint16_t>(root_.number));
    Put64(bytes, order_.size());
    Put64(bytes, 0);  // time and its nanoseconds, for inodes that have none
    Put32(bytes, 0);
    Put32(bytes, static_cast<uint32_t>(end_ / kBlock));
    Put32(bytes, static_cast<uint32_t>(meta_at_ / kBlock));
    Put32(bytes, static_cast<uint32_t>(meta_at_ / kBlock));  // of shared attributes, of which there are none
    bytes.append(16, '\0');                                  // uuid
    bytes += "berth layer";
    bytes.resize(80, '\0');
    Put32(bytes, has_chunks_ ? kHasChunks : 0);
    bytes.resize(kBlock, '\0');
    // CRC-32C without the final inversion, of the block.
    std::string checksum;
    Put32(checksum, crc32_iscsi(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size()), ~0u));
    bytes.replace(4, 4, checksum);
    return bytes;
  }

  const int file_;
  TreeNode& root_;
  const ClaimSpace claim_;
  Hasher hasher_;
  std::vector<Placed> order_;
  bool has_chunks_ = false;
  uint64_t end_of_data_ = 0, meta_at_ = 0, end_of_inodes_ = 0, end_ = 0;
};

}  // namespace

absl::StatusOr<ErofsIndex> WriteErofsIndex(int file, uint64_t archive_size, TreeNode& root, ClaimSpace claim) {
  return Writer(file, archive_size, root, claim).Run();
}

absl::StatusOr<std::string> ErofsIndexDigest(int file, uint64_t at, uint64_t size) {
  Hasher hasher;
  auto hash = [&hasher](absl::string_view bytes) {
    hasher.Update(bytes);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(ReadRange(file, kSuperAt, kBlock, "the layer's file", hash));
  RETURN_IF_ERROR(ReadRange(file, at, size, "the layer's file", hash));
  return hasher.Finish();
}

}  // namespace berth::image
