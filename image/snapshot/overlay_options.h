// How an overlay mount is asked for. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "absl/types/span.h"
#include "runtime/sys/mount.h"

namespace berth::image {

// Names of an overlay's own two directories where they stand.
inline constexpr char kUpper[] = "upper";
inline constexpr char kWork[] = "work";

// What an overlay is made of. All descriptors may be O_PATH and must stay open until it is mounted.
struct Overlay {
  absl::Span<const int> lowers;  // topmost first
  bool mapped = false;           // the lower ones are the roots of detached mounts
  // Without them the mount is read-only and takes at least two lower ones.
  int upper = -1;
  int work = -1;
  int parent = -1;    // of these two, as kUpper and kWork
  std::string label;  // the SELinux context of all files; empty = none

  bool writable() const { return upper >= 0; }
};

// How the kernel lets lower directories be given, best first.
enum class LowerStyle {
  kDescriptors,  // one "lowerdir+" each, by descriptor (Linux 6.13)
  kPaths,        // one "lowerdir+" each, by path (Linux 6.8)
  kJoined,       // one "lowerdir" for all, of at most 255 bytes: some twenty layers
  kAttached,     // as kJoined in a page, by paths at which they are attached: see OverlayMounter
};

// Whether a mount failed with this errno because the kernel does not know its style: EINVAL; EOPNOTSUPP for a
// descriptor before Linux 6.5, whose overlayfs takes its options as one string; EBADF for one of O_PATH where only
// others are taken.
bool IsUnknownStyle(int error);

// Of a style before kAttached.
std::vector<sys::FsOption> OverlayOptions(const Overlay& overlay, LowerStyle style);

// The path at which lower directory `index` is attached, and of the mount that holds kUpper and kWork.
std::string AttachedLower(size_t index);
inline constexpr char kAttachedParent[] = "w";

// Of style kAttached: paths from the directory that holds them all.
std::vector<sys::FsOption> AttachedOptions(const Overlay& overlay);

}  // namespace berth::image
