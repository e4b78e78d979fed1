// A directory as EROFS has it on disk: blocks of sorted entries, each with its entries' names behind them. Pure
// functions.
#pragma once

#include <cstdint>
#include <string>

#include "image/erofs/layer_tree.h"

namespace berth::image {

// Bytes of DirectoryBlocks.
uint64_t DirectorySize(const TreeNode& directory);
// Its children's, its own and its parent's `number` are those of their inodes.
std::string DirectoryBlocks(const TreeNode& directory, const TreeNode& parent);
// Names of the directory itself: one, its own ".", and the ".." of each directory in it.
uint32_t DirectoryLinks(const TreeNode& directory);

}  // namespace berth::image
