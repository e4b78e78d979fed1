#include "image/erofs/directory_blocks.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "image/erofs/erofs_format.h"
#include "image/erofs/little_endian.h"

namespace berth::image {
namespace {

using namespace erofs;  // NOLINT: the format's vocabulary

using Entry = std::pair<absl::string_view, const TreeNode*>;

std::vector<Entry> EntriesOf(const TreeNode& directory, const TreeNode& parent) {
  std::vector<Entry> entries = {{".", &directory}, {"..", &parent}};
  for (const auto& [name, child] : directory.children) entries.emplace_back(name, child);
  std::inplace_merge(entries.begin(), entries.begin() + 2, entries.end(),
                     [](const Entry& a, const Entry& b) { return a.first < b.first; });
  return entries;
}

// Calls `block` with the entries of each block, first and one past the last.
template <typename Block>
void ForEachBlock(const std::vector<Entry>& entries, Block block) {
  for (size_t first = 0; first < entries.size();) {
    size_t end = first, bytes = 0;
    while (end < entries.size() && bytes + kDirent + entries[end].first.size() <= kBlock) {
      bytes += kDirent + entries[end++].first.size();
    }
    block(first, end, bytes);
    first = end;
  }
}

uint8_t TypeOf(const TreeNode& node) {
  switch (node.mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    default:
      return 7;  // a symlink
  }
}

}  // namespace

uint64_t DirectorySize(const TreeNode& directory) {
  uint64_t size = 0;
  const std::vector<Entry> entries = EntriesOf(directory, directory);
  ForEachBlock(entries, [&](size_t, size_t end, size_t bytes) { size += end == entries.size() ? bytes : kBlock; });
  return size;
}

std::string DirectoryBlocks(const TreeNode& directory, const TreeNode& parent) {
  std::string out;
  const std::vector<Entry> entries = EntriesOf(directory, parent);
  ForEachBlock(entries, [&](size_t first, size_t end, size_t) {
    out.resize((out.size() + kBlock - 1) / kBlock * kBlock);
    size_t name_at = (end - first) * kDirent;
    for (size_t i = first; i < end; ++i) {
      Put64(out, entries[i].second->number);
      Put16(out, static_cast<uint16_t>(name_at));
      Put8(out, TypeOf(*entries[i].second));
      Put8(out, 0);
      name_at += entries[i].first.size();
    }
    for (size_t i = first; i < end; ++i) absl::StrAppend(&out, entries[i].first);
  });
  return out;
}

uint32_t DirectoryLinks(const TreeNode& directory) {
  auto is_directory = [](const auto& child) { return child.second->is_directory(); };
  return 2 + static_cast<uint32_t>(std::count_if(directory.children.begin(), directory.children.end(), is_directory));
}

}  // namespace berth::image
