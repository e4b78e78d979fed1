#include "image/snapshot/overlay_options.h"

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace berth::image {
namespace {

using sys::FsOption;

std::string PathOf(int fd) { return absl::StrCat("/dev/fd/", fd); }  // short: see LowerStyle::kJoined

void Join(const std::string& path, std::string& joined) { absl::StrAppend(&joined, joined.empty() ? "" : ":", path); }

// Whatever the style.
void AddCommon(const Overlay& overlay, std::vector<FsOption>& options) {
  // The kernel's defaults depend on its configuration. index would tie an upper directory to its first lower ones,
  // metacopy and redirects leave upper directories that mean nothing without overlayfs.
  options.push_back(FsOption::String("index", "off"));
  options.push_back(FsOption::String("metacopy", "off"));
  options.push_back(FsOption::String("redirect_dir", "nofollow"));
  if (overlay.writable()) options.push_back(FsOption::Flag("volatile"));
  if (!overlay.label.empty()) options.push_back(FsOption::String("context", overlay.label));
}

}  // namespace

bool IsUnknownStyle(int error) { return error == EINVAL || error == EOPNOTSUPP || error == EBADF; }

std::vector<FsOption> OverlayOptions(const Overlay& overlay, LowerStyle style) {
  std::vector<FsOption> options;
  std::string joined;
  for (int fd : overlay.lowers) {
    if (style == LowerStyle::kDescriptors) options.push_back(FsOption::Fd("lowerdir+", fd));
    if (style == LowerStyle::kPaths) options.push_back(FsOption::String("lowerdir+", PathOf(fd)));
    Join(PathOf(fd), joined);
  }
  if (style == LowerStyle::kJoined) options.push_back(FsOption::String("lowerdir", joined));
  if (overlay.writable() && style == LowerStyle::kDescriptors) {
    options.push_back(FsOption::Fd("upperdir", overlay.upper));
    options.push_back(FsOption::Fd("workdir", overlay.work));
  } else if (overlay.writable()) {
    options.push_back(FsOption::String("upperdir", PathOf(overlay.upper)));
    options.push_back(FsOption::String("workdir", PathOf(overlay.work)));
  }
  AddCommon(overlay, options);
  return options;
}

std::string AttachedLower(size_t index) { return absl::StrCat(index); }

std::vector<FsOption> AttachedOptions(const Overlay& overlay) {
  std::string joined;
  for (size_t i = 0; i < overlay.lowers.size(); ++i) Join(AttachedLower(i), joined);
  std::vector<FsOption> options = {FsOption::String("lowerdir", joined)};
  if (overlay.writable()) {
    options.push_back(FsOption::String("upperdir", absl::StrCat(kAttachedParent, "/", kUpper)));
    options.push_back(FsOption::String("workdir", absl::StrCat(kAttachedParent, "/", kWork)));
  }
  AddCommon(overlay, options);
  return options;
}

}  // namespace berth::image
