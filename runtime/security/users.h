// Which ids a container's process has. The image's /etc/passwd and /etc/group are untrusted text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace berth::security {

struct UserRequest {
  std::string image_user;  // USER of the image: "", "user", "user:group", each a name or a number
  // Of the request; they replace the image's user. At most one of the first two.
  std::optional<int64_t> run_as_user;
  std::string run_as_username;
  std::optional<int64_t> run_as_group;
  std::vector<int64_t> supplemental_groups;
  bool strict_groups = false;  // the image's /etc/group adds nothing
};

struct ResolvedUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  // The primary group first, then memberships in the order of /etc/group, then the request's; no
  // duplicates.
  std::vector<uint32_t> groups;
  std::string home = "/";
};

struct UserFiles {
  std::string passwd;
  std::string group;
};

// Reads both files beneath `rootfs` (a directory descriptor). A file that is missing is empty.
// FailedPrecondition for anything but a regular file, ResourceExhausted above 10 MiB. The last
// component is not followed when a symlink.
absl::StatusOr<UserFiles> ReadUserFiles(int rootfs);

// Ids are 0 … 2^31-1. What consists of digits only is a number or an error, never a name.
// InvalidArgument naming what is wrong: out of range, a name that is not in the files, an empty
// part, run_as_group without a user of the request.
absl::StatusOr<ResolvedUser> ResolveUser(const UserRequest& request, const UserFiles& files);

}  // namespace berth::security
