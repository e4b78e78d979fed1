#include "image/snapshot/overlay_mounter.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::image {
namespace {

constexpr char kAt[] = "o";
// overlayfs leaves this in the work directory of a volatile mount and refuses the next one while it is there
// (overlayfs.rst, "Volatile mount").
constexpr char kVolatileMark[] = "work/work/incompat/volatile";

// Best first.
absl::Span<const LowerStyle> StylesFor(const Overlay& overlay) {
  // FALLBACK(linux<6.8): lower directories are not taken one by one; what does not fit into 255 bytes is attached.
  static constexpr LowerStyle kPlain[] = {LowerStyle::kDescriptors, LowerStyle::kPaths, LowerStyle::kJoined,
                                          LowerStyle::kAttached};
  // FALLBACK(linux<6.13): directories are not taken by descriptor, nor, by whatever path, those of mounts that are
  // attached nowhere.
  static constexpr LowerStyle kMapped[] = {LowerStyle::kDescriptors, LowerStyle::kAttached};
  if (overlay.mapped) return kMapped;
  return kPlain;
}

absl::Status AttachAt(int mount, const std::string& name) {
  if (mkdirat(AT_FDCWD, name.c_str(), 0700) != 0) return ErrnoError(errno, absl::StrCat("mkdir '", name, "'"));
  ASSIGN_OR_RETURN(sys::UniqueFd target, sys::OpenAt(AT_FDCWD, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
  return sys::AttachMount(mount, target.get(), name);
}

// In an empty directory of a scratch namespace. `lowers` and `parent` are detached mounts.
absl::StatusOr<sys::UniqueFd> MountHere(const Overlay& overlay, absl::Span<const int> lowers, int parent) {
  for (size_t i = 0; i < lowers.size(); ++i) RETURN_IF_ERROR(AttachAt(lowers[i], AttachedLower(i)));
  if (overlay.writable()) RETURN_IF_ERROR(AttachAt(parent, kAttachedParent));
  if (mkdirat(AT_FDCWD, kAt, 0700) != 0) return ErrnoError(errno, "mkdir");
  RETURN_IF_ERROR(sys::MountByPath("overlay", AttachedOptions(overlay), kAt));
  return sys::CloneTree(AT_FDCWD, kAt, false);
}

}  // namespace

absl::StatusOr<const ScratchNamespace*> OverlayMounter::Scratch() const {
  absl::MutexLock lock(&mutex_);
  if (scratch_ == nullptr) {
    ASSIGN_OR_RETURN(ScratchNamespace made, ScratchNamespace::Make());
    scratch_ = std::make_unique<ScratchNamespace>(std::move(made));
  }
  return scratch_.get();
}

absl::StatusOr<sys::UniqueFd> OverlayMounter::MountIn(LowerStyle style, const Overlay& overlay) const {
  // The mark stands for writes that may be missing on disk: not in one boot, where they are in the page cache. A mount
  // that fails at its lower directories leaves one, too.
  if (overlay.writable()) RETURN_IF_ERROR(sys::RemoveTreeAt(overlay.parent, kVolatileMark));
  if (style == LowerStyle::kAttached) return MountAttached(overlay);
  return sys::MountDetached("overlay", OverlayOptions(overlay, style), 0);
}

absl::StatusOr<sys::UniqueFd> OverlayMounter::Mount(const Overlay& overlay) const {
  std::atomic<LowerStyle>& known = overlay.mapped ? mapped_ : plain_;
  absl::Status first;
  for (LowerStyle style : StylesFor(overlay)) {
    if (style < known.load()) continue;
    auto mount = MountIn(style, overlay);
    if (mount.ok()) {
      // Of plain directories a few can be joined even where these were too many.
      if (overlay.mapped || style != LowerStyle::kAttached) known.store(style);
      return mount;
    }
    if (first.ok()) first = mount.status();
    if (!IsUnknownStyle(ErrnoOf(mount.status()))) return mount;
  }
  return first;
}

absl::StatusOr<sys::UniqueFd> OverlayMounter::MountAttached(const Overlay& overlay) const {
  ASSIGN_OR_RETURN(const ScratchNamespace* scratch, Scratch());
  std::vector<sys::UniqueFd> clones;
  std::vector<int> lowers(overlay.lowers.begin(), overlay.lowers.end());
  if (!overlay.mapped) {
    for (int& lower : lowers) {
      ASSIGN_OR_RETURN(sys::UniqueFd clone, sys::CloneTree(lower, "", false));
      lower = clone.get();
      clones.push_back(std::move(clone));
    }
  }
  sys::UniqueFd parent;  // one mount for both: overlayfs wants it so
  if (overlay.writable()) {
    ASSIGN_OR_RETURN(parent, sys::CloneTree(overlay.parent, "", false));
  }
  sys::UniqueFd mount;
  RETURN_IF_ERROR(scratch->Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(mount, MountHere(overlay, lowers, parent.get()));
    return absl::OkStatus();
  }));
  return mount;
}

absl::StatusOr<sys::UniqueFd> OverlayMounter::CloneWithin(int mount, int found) const {
  auto clone = sys::CloneTree(found, "", false);
  // FALLBACK(linux<6.15): only what is attached can be cloned.
  if (ErrnoOf(clone.status()) == EINVAL) return CloneWhileAttached(mount, found);
  return clone;
}

absl::StatusOr<sys::UniqueFd> OverlayMounter::CloneWhileAttached(int mount, int found) const {
  ASSIGN_OR_RETURN(const ScratchNamespace* scratch, Scratch());
  sys::UniqueFd clone;
  RETURN_IF_ERROR(scratch->Run([&]() -> absl::Status {
    RETURN_IF_ERROR(AttachAt(mount, kAt));
    ASSIGN_OR_RETURN(clone, sys::CloneTree(found, "", false));
    return absl::OkStatus();
  }));
  return clone;
}

}  // namespace berth::image
