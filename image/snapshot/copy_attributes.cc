#include "image/snapshot/copy_attributes.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "image/unpack/entry_attributes.h"
#include "runtime/sys/file.h"

namespace berth::image {
namespace {

absl::StatusOr<std::map<std::string, std::string>> ReadXattrs(int fd) {
  std::string path = absl::StrCat("/proc/self/fd/", fd);
  if (listxattr(path.c_str(), nullptr, 0) == 0) return std::map<std::string, std::string>();  // nearly always
  std::string names(XATTR_LIST_MAX, '\0');
  ssize_t size = listxattr(path.c_str(), names.data(), names.size());
  if (size < 0 && errno == ENOTSUP) return std::map<std::string, std::string>();
  if (size < 0) return ErrnoError(errno, "listxattr");
  names.resize(static_cast<size_t>(size));
  std::map<std::string, std::string> xattrs;
  std::string value(XATTR_SIZE_MAX, '\0');
  for (absl::string_view name : absl::StrSplit(names, '\0', absl::SkipEmpty())) {
    if (!IsXattrAllowed(name)) continue;
    std::string key(name);
    ssize_t n = getxattr(path.c_str(), key.c_str(), value.data(), value.size());
    if (n < 0) return ErrnoError(errno, absl::StrCat("getxattr '", key, "'"));
    xattrs[key] = value.substr(0, static_cast<size_t>(n));
  }
  return xattrs;
}

}  // namespace

absl::Status CopyAttributes(int from, int to) {
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(from, "source"));
  ASSIGN_OR_RETURN(auto xattrs, ReadXattrs(from));
  if (fchown(to, st.st_uid, st.st_gid) != 0) return ErrnoError(errno, "chown");
  if (fchmod(to, st.st_mode & 07777) != 0) return ErrnoError(errno, "chmod");
  RETURN_IF_ERROR(SetXattrs(to, xattrs));
  const struct timespec times[2] = {st.st_mtim, st.st_mtim};
  if (futimens(to, times) != 0) return ErrnoError(errno, "set times");
  return absl::OkStatus();
}

}  // namespace berth::image
