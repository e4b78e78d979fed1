#include "image/unpack/entry_attributes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"

namespace berth::image {
namespace {

// The calls that take no O_PATH descriptor take the name that procfs gives it.
std::string ProcPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

template <typename Set>
absl::Status ForEachAllowed(const std::map<std::string, std::string>& xattrs, Set set) {
  for (const auto& [name, value] : xattrs) {
    if (!IsXattrAllowed(name)) continue;
    // EPERM for user.* comes from devices and the like, which cannot have them.
    if (set(name.c_str(), value.data(), value.size()) != 0 && errno != ENOTSUP &&
        !(errno == EPERM && absl::StartsWith(name, "user."))) {
      return ErrnoError(errno, absl::StrCat("set attribute '", absl::CEscape(name), "'"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsXattrAllowed(absl::string_view name) {
  return (absl::StartsWith(name, "user.") && !absl::StartsWith(name, "user.overlay.")) ||
         name == "security.capability" || name == "system.posix_acl_access" || name == kDefaultAcl;
}

absl::Status SetXattrs(int fd, const std::map<std::string, std::string>& xattrs) {
  return ForEachAllowed(
      xattrs, [fd](const char* name, const void* value, size_t size) { return fsetxattr(fd, name, value, size, 0); });
}

absl::Status SetAttributesOfPath(int fd, const TarEntry& entry) {
  if (fchownat(fd, "", entry.uid, entry.gid, AT_EMPTY_PATH) != 0) return ErrnoError(errno, "chown");
  std::string path = ProcPath(fd);
  if (chmod(path.c_str(), entry.mode) != 0) return ErrnoError(errno, "chmod");
  RETURN_IF_ERROR(ForEachAllowed(entry.xattrs, [&](const char* name, const void* value, size_t size) {
    return setxattr(path.c_str(), name, value, size, 0);
  }));
  const struct timespec times[2] = {entry.mtime, entry.mtime};
  if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return ErrnoError(errno, "set times");
  return absl::OkStatus();
}

absl::Status EndDirectory(int fd, const struct timespec& mtime, const std::string& default_acl) {
  std::string path = ProcPath(fd);
  if (!default_acl.empty()) {
    RETURN_IF_ERROR(ForEachAllowed({{kDefaultAcl, default_acl}}, [&](const char* name, const void* value, size_t size) {
      return setxattr(path.c_str(), name, value, size, 0);
    }));
  }
  const struct timespec times[2] = {mtime, mtime};
  if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return ErrnoError(errno, "set times");
  return absl::OkStatus();
}

}  // namespace berth::image
