// Attributes of unpacked files: the calls, and which extended attributes a layer may set.
#pragma once

#include <ctime>
#include <map>
#include <string>

#include "absl/strings/string_view.h"
#include "image/unpack/tar_parser.h"
#include "runtime/base/status.h"

namespace berth::image {

inline constexpr char kDefaultAcl[] = "system.posix_acl_default";

// user.* (but not user.overlay.*), security.capability and POSIX ACLs.
bool IsXattrAllowed(absl::string_view name);

// Sets the allowed ones; those that the file system or the kind of file does not support are left out.
absl::Status SetXattrs(int fd, const std::map<std::string, std::string>& xattrs);

// Owner, mode, extended attributes and mtime of what an O_PATH descriptor names (not a symlink).
absl::Status SetAttributesOfPath(int fd, const TarEntry& entry);

// The default ACL, when there is one, and the time of an O_PATH directory.
absl::Status EndDirectory(int fd, const struct timespec& mtime, const std::string& default_acl);

}  // namespace berth::image
