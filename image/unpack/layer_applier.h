// Turns the entries of a layer's archive into a directory that overlayfs can stack (overlayfs.rst): ordinary files, and
// its own marks for what the layer deletes.
//
// Names are resolved beneath the layer's root only. An entry replaces what the layer had by that name, except that a
// directory over a directory only changes its attributes. A hard link needs its target in the same layer: one to a file
// of a lower layer is refused (InvalidArgument), as the same inode cannot be had in two layers.
// Attributes kept: owner, mode, mtime, user.*, security.capability and POSIX ACLs; others (SELinux labels, forged
// trusted.overlay.* marks) are dropped, as are those that the file system does not support.
// Needs CAP_CHOWN, CAP_FOWNER, CAP_MKNOD and CAP_SYS_ADMIN (for trusted.*). Not thread-safe.
#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "image/unpack/disk_space.h"
#include "image/unpack/layer_path.h"
#include "image/unpack/parent_dirs.h"
#include "image/unpack/tar_parser.h"
#include "image/unpack/tree_usage.h"
#include "image/unpack/unpack_limits.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

class LayerApplier : public TarVisitor {
 public:
  // Unpacks into the empty directory `root` (not O_PATH), which must stay open and be changed by nobody else.
  LayerApplier(int root, const UnpackLimits& limits) : root_(root), space_(root, limits), parents_(root) {}

  absl::Status OnEntry(const TarEntry& entry) override;
  absl::Status OnData(uint64_t offset, uint64_t stored, absl::string_view bytes) override;
  absl::Status OnEntryEnd() override;

  // After the last entry: sets the times of directories. Then usage and implied parents are final.
  absl::Status Finish();
  const TreeUsage& usage() const { return usage_; }
  // As in LayerResult.
  std::vector<std::string> ImpliedParents() const;

 private:
  struct DirectoryEnd {  // what is set when nothing goes into the directory any more
    std::string path;
    ino_t inode;
    struct timespec mtime;
    std::string default_acl;
  };

  absl::Status Apply(const TarEntry& entry);
  absl::Status Root(const TarEntry& entry);
  absl::Status Hide(const ParentDir& parent, absl::string_view target);
  absl::Status Opaque(const LayerName& name, const TarEntry& entry);
  absl::Status File(const ParentDir& parent, const std::string& base);
  absl::Status Directory(const ParentDir& parent, const std::string& base, const std::string& path,
                         const TarEntry& entry);
  absl::Status Symlink(const ParentDir& parent, const std::string& base, const TarEntry& entry);
  absl::Status Node(const ParentDir& parent, const std::string& base, const TarEntry& entry);
  absl::Status HardLink(const ParentDir& parent, const std::string& base, const TarEntry& entry);
  absl::Status DirectoryAttributes(int fd, const std::string& path, const TarEntry& entry);
  absl::Status MakeRoom(int parent, const std::string& base);

  const int root_;
  DiskSpace space_;
  ParentDirs parents_;
  bool root_described_ = false;
  TarEntry entry_;      // the file being written
  sys::UniqueFd file_;  // its descriptor
  std::vector<DirectoryEnd> directories_;
  TreeUsage usage_;
};

}  // namespace berth::image
