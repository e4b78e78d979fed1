#include "image/snapshot/overlay_options.h"

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace berth::image {
namespace {

std::string PathOf(int fd) { return absl::StrCat("/dev/fd/", fd); }  // short: see LowerStyle::kJoined

}  // namespace

bool IsUnknownStyle(int error) { return error == EINVAL || error == EOPNOTSUPP; }

std::vector<sys::FsOption> OverlayOptions(absl::Span<const int> lowers, int upper, int work, LowerStyle style) {
  std::vector<sys::FsOption> options;
  std::string joined;
  for (int fd : lowers) {
    if (style == LowerStyle::kDescriptors) options.push_back(sys::FsOption::Fd("lowerdir+", fd));
    if (style == LowerStyle::kPaths) options.push_back(sys::FsOption::String("lowerdir+", PathOf(fd)));
    absl::StrAppend(&joined, joined.empty() ? "" : ":", PathOf(fd));
  }
  if (style == LowerStyle::kJoined) options.push_back(sys::FsOption::String("lowerdir", joined));
  if (upper >= 0 && style == LowerStyle::kDescriptors) {
    options.push_back(sys::FsOption::Fd("upperdir", upper));
    options.push_back(sys::FsOption::Fd("workdir", work));
  } else if (upper >= 0) {
    options.push_back(sys::FsOption::String("upperdir", PathOf(upper)));
    options.push_back(sys::FsOption::String("workdir", PathOf(work)));
  }
  // The kernel's defaults depend on its configuration. index would tie an upper directory to its first lower ones,
  // metacopy and redirects leave upper directories that mean nothing without overlayfs.
  options.push_back(sys::FsOption::String("index", "off"));
  options.push_back(sys::FsOption::String("metacopy", "off"));
  options.push_back(sys::FsOption::String("redirect_dir", "nofollow"));
  if (upper >= 0) options.push_back(sys::FsOption::Flag("volatile"));
  return options;
}

}  // namespace berth::image
