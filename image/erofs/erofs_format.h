// Numbers of the EROFS on-disk format, version 1, as far as layers use it: uncompressed files in one device
// (Documentation/filesystems/erofs.rst; the kernel's fs/erofs is what reads it).
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth::image::erofs {

// Blocks are as large as tar's, so that a file's contents in an archive begin on one.
inline constexpr unsigned kBlockBits = 9;
inline constexpr uint64_t kBlock = 1 << kBlockBits;
inline constexpr uint64_t kMaxBlocks = 0xfffffffe;  // the next number marks a hole

inline constexpr uint64_t kSuperAt = 1024;
inline constexpr size_t kSuperSize = 128;
inline constexpr uint32_t kMagic = 0xe0f5e1e2;
inline constexpr uint32_t kHasChecksum = 1, kHasMtime = 2;  // compatible features
inline constexpr uint32_t kHasChunks = 4;                   // incompatible feature

// Inodes are numbered by their place in the metadata, in such slots.
inline constexpr uint64_t kSlot = 32;
inline constexpr uint64_t kMaxRoot = 0xffff;
inline constexpr size_t kInodeSize = 64;  // of the extended form
inline constexpr uint16_t kExtended = 1;
enum Layout : uint16_t { kPlain = 0, kInline = 2, kChunks = 4 };
inline constexpr unsigned kLayoutBit = 1;
inline constexpr uint32_t kMaxChunkBits = 31;  // of a chunk, in blocks
inline constexpr uint32_t kHole = 0xffffffff;

inline constexpr size_t kXattrHeader = 12, kXattrEntry = 4;
inline constexpr size_t kMaxXattrs = 0xffff;  // quarters of what an inode's attributes take

inline constexpr size_t kDirent = 12;

}  // namespace berth::image::erofs
