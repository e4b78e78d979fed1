// A layer's files as a tree in memory, made from the entries of its archive. Contents stay where they are: a file knows
// its place in the archive. What an entry means is the same as for a layer that is unpacked (layer_applier.h), so
// that both formats show the same files.
// Not thread-safe.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <ctime>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/unpack/layer_path.h"
#include "image/unpack/tar_parser.h"
#include "runtime/base/status.h"

namespace berth::image {

struct TreeNode {
  struct Extent {
    uint64_t offset;  // in the file
    uint64_t stored;  // in the archive
    uint64_t size;
  };

  bool is_directory() const { return S_ISDIR(mode); }
  // overlayfs' whiteout, a character device 0:0.
  bool is_whiteout() const { return S_ISCHR(mode) && device == 0; }

  mode_t mode = 0;  // with its type
  uint32_t uid = 0;
  uint32_t gid = 0;
  struct timespec mtime = {};
  dev_t device = 0;
  uint64_t size = 0;    // of a file; of a directory free for who writes the tree down
  uint64_t stored = 0;  // where in the archive its contents are, unless it is sparse
  bool sparse = false;
  std::vector<Extent> extents;  // of a sparse file, in order
  std::string target;           // of a symlink
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::map<std::string, TreeNode*> children;  // of a directory, in the order of bytes
  uint32_t links = 1;                         // names of anything but a directory
  bool implied = false;                       // a directory that no entry describes
  // Free for who writes the tree down.
  uint64_t number = 0;
  uint64_t place = 0;
};

class LayerTree : public TarVisitor {
 public:
  // What names, targets, attributes and the paths of implied directories may take in all: they are kept in memory.
  static constexpr uint64_t kMaxText = uint64_t{64} << 20;
  // Directories in each other. No path that the kernel takes reaches deeper ones.
  static constexpr size_t kMaxDepth = 2048;

  // Files and directories, also those that were replaced later.
  static constexpr size_t kMaxNodes = 2'000'000;

  LayerTree();

  absl::Status OnEntry(const TarEntry& entry) override;
  absl::Status OnData(uint64_t offset, uint64_t stored, absl::string_view bytes) override;
  absl::Status OnEntryEnd() override;

  TreeNode& root() { return *root_; }
  // As in LayerResult.
  std::vector<std::string> ImpliedParents() const;

 private:
  absl::Status Apply(const TarEntry& entry);
  absl::Status Root(const TarEntry& entry);
  absl::Status Hide(TreeNode& parent, absl::string_view target);
  absl::Status Directory(TreeNode& parent, const std::string& base, const TarEntry& entry);
  absl::Status HardLink(TreeNode& parent, const std::string& base, const TarEntry& entry);
  absl::Status Other(TreeNode& parent, const std::string& base, const TarEntry& entry);
  // The directory that the clean path names. With `make`, missing ones are made, as implied by an entry of that time;
  // without it nullptr is returned for what is not there.
  absl::StatusOr<TreeNode*> Walk(absl::string_view path, const struct timespec* make);
  absl::StatusOr<TreeNode*> Step(TreeNode& parent, const std::string& name, const struct timespec* make);
  TreeNode* NewNode(mode_t mode, const struct timespec& mtime);
  TreeNode* NewDirectory(const struct timespec& mtime);
  void Drop(TreeNode& node);
  void Put(TreeNode& parent, const std::string& base, TreeNode* node);

  std::deque<TreeNode> nodes_;  // all that were made, also those that were replaced later
  TreeNode* root_;
  TreeNode* file_ = nullptr;  // whose contents come next
  uint64_t text_ = 0;
  // Entries come in the order of directories, so the last one is nearly always the next one, too.
  std::string cached_path_;
  TreeNode* cached_ = nullptr;
};

}  // namespace berth::image
