// The directories of a layer that is being unpacked: finds the one an entry goes into, making those that the archive
// implies. Everything is resolved beneath the layer's root; symlinks of the layer are followed inside of it.
// Not thread-safe. Nobody else changes the tree meanwhile.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <ctime>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/sys/unique_fd.h"

namespace berth::image {

struct ParentDir {
  int fd = -1;           // O_PATH; valid until the next call of Open
  bool set_gid = false;  // what is made in it gets its group
};

class ParentDirs {
 public:
  // `root` is the layer's root directory and stays open as long as this lives.
  explicit ParentDirs(int root) : root_(root) {}

  // The directory that the clean path names. `mtime` is what directories made on the way get in the end.
  // InvalidArgument when something on the way is not a directory.
  absl::StatusOr<ParentDir> Open(absl::string_view path, const struct timespec& mtime);
  // The same without making anything, apart from the cache. NotFound.
  absl::StatusOr<sys::UniqueFd> Find(absl::string_view path) const;
  // To be called when a directory or symlink was replaced or an existing directory changed.
  void Forget() { cached_ = false; }

  // The archive describes this directory after all.
  void Described(ino_t inode) { implied_.erase(inode); }

  struct Made {
    std::string path;
    struct timespec mtime;
    ino_t inode;
  };
  // Directories made since the last call.
  std::vector<Made> TakeMade() { return std::exchange(made_, {}); }
  // Paths of those that were implied, never described and are still there, sorted.
  std::vector<std::string> Implied() const;

 private:
  absl::StatusOr<sys::UniqueFd> Walk(absl::string_view path, const struct timespec& mtime);
  absl::StatusOr<sys::UniqueFd> Make(int parent, const std::string& name, const std::string& path,
                                     const struct timespec& mtime);
  absl::StatusOr<sys::UniqueFd> Descend(int parent, const std::string& name, const std::string& path,
                                        const struct timespec& mtime);

  const int root_;
  bool cached_ = false;
  std::string cached_path_;
  sys::UniqueFd cached_fd_;
  ParentDir cached_dir_;
  std::map<ino_t, std::string> implied_;
  std::vector<Made> made_;
};

// Whether it is overlayfs' whiteout, a character device 0:0.
inline bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == 0; }

// Hides what lower layers have in the directory `name` of `parent` (trusted.overlay.opaque, overlayfs.rst).
absl::Status MakeOpaque(int parent, const std::string& name);

}  // namespace berth::image
