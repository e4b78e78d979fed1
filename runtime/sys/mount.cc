#include "runtime/sys/mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"

namespace berth::sys {
namespace {

// The messages that the file system left in its context, "e"rrors and "w"arnings, for people.
std::string ContextLog(int fs) {
  std::string log;
  char line[512];
  ssize_t n;
  while ((n = read(fs, line, sizeof line)) > 0) {
    while (n > 0 && line[n - 1] == '\n') --n;
    absl::StrAppend(&log, log.empty() ? "" : "; ", absl::string_view(line, static_cast<size_t>(n)));
  }
  return log;
}

absl::Status FsError(int fs, int err, absl::string_view type, absl::string_view step) {
  std::string log = ContextLog(fs);
  return ErrnoError(err, absl::StrCat("mount ", type, " (", step, log.empty() ? "" : ": ", log, ")"));
}

}  // namespace

absl::StatusOr<UniqueFd> MountDetached(absl::string_view type, absl::Span<const FsOption> options, uint64_t attrs) {
  UniqueFd fs(static_cast<int>(syscall(SYS_fsopen, std::string(type).c_str(), FSOPEN_CLOEXEC)));
  if (!fs) return ErrnoError(errno, absl::StrCat("fsopen '", type, "'"));
  for (const FsOption& o : options) {
    long rc;
    if (o.fd >= 0) {
      rc = syscall(SYS_fsconfig, fs.get(), FSCONFIG_SET_FD, o.key.c_str(), nullptr, o.fd);
    } else if (o.value.empty()) {
      rc = syscall(SYS_fsconfig, fs.get(), FSCONFIG_SET_FLAG, o.key.c_str(), nullptr, 0);
    } else {
      rc = syscall(SYS_fsconfig, fs.get(), FSCONFIG_SET_STRING, o.key.c_str(), o.value.c_str(), 0);
    }
    if (rc != 0) return FsError(fs.get(), errno, type, absl::StrCat("option ", o.key));
  }
  if (syscall(SYS_fsconfig, fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return FsError(fs.get(), errno, type, "create");
  }
  UniqueFd mount(static_cast<int>(syscall(SYS_fsmount, fs.get(), FSMOUNT_CLOEXEC, attrs)));
  if (!mount) return FsError(fs.get(), errno, type, "fsmount");
  return mount;
}

std::string JoinOptions(absl::Span<const FsOption> options) {
  std::string joined;
  for (const FsOption& o : options) {
    const char* quote = absl::StrContains(o.value, ',') ? "\"" : "";
    absl::StrAppend(&joined, joined.empty() ? "" : ",", o.key);
    if (!o.value.empty()) absl::StrAppend(&joined, "=", quote, o.value, quote);
  }
  return joined;
}

absl::Status MountByPath(absl::string_view type, absl::Span<const FsOption> options, absl::string_view target) {
  const std::string at(target), name(type), data = JoinOptions(options);
  // The kernel reads one page and drops what does not fit.
  if (data.size() >= static_cast<size_t>(sysconf(_SC_PAGESIZE))) {
    return ErrnoError(E2BIG, absl::StrCat("options of ", type));
  }
  if (mount(name.c_str(), at.c_str(), name.c_str(), 0, data.c_str()) != 0) {
    return ErrnoError(errno, absl::StrCat("mount ", type));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> CloneTree(int dir, absl::string_view path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_NO_AUTOMOUNT | AT_EMPTY_PATH;
  if (recursive) flags |= AT_RECURSIVE;
  std::string name(path);
  UniqueFd tree(static_cast<int>(syscall(SYS_open_tree, dir, name.c_str(), flags)));
  if (!tree) return ErrnoError(errno, absl::StrCat("open_tree '", name, "'"));
  return tree;
}

absl::Status AttachMount(int mount, int target, absl::string_view name) {
  if (syscall(SYS_move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return ErrnoError(errno, absl::StrCat("move_mount to '", name, "'"));
  }
  return absl::OkStatus();
}

absl::Status DetachMount(int mount, absl::string_view name) {
  if (umount2(absl::StrCat("/proc/self/fd/", mount).c_str(), MNT_DETACH) != 0) {
    return ErrnoError(errno, absl::StrCat("umount '", name, "'"));
  }
  return absl::OkStatus();
}

absl::Status UnmountPath(absl::string_view path) {
  constexpr int kMostMounts = 100;
  const std::string name(path);
  for (int mounts = 0; mounts < kMostMounts; ++mounts) {
    if (umount2(name.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) continue;
    if (errno == EINVAL || errno == ENOENT) return absl::OkStatus();
    break;
  }
  return ErrnoError(errno, absl::StrCat("umount '", path, "'"));
}

absl::Status SetMountAttrs(int mount, uint64_t set, uint64_t clear, uint64_t propagation, bool recursive) {
  struct mount_attr attr = {};
  attr.attr_set = set;
  attr.attr_clr = clear;
  attr.propagation = propagation;
  unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u);
  if (syscall(SYS_mount_setattr, mount, "", flags, &attr, sizeof attr) != 0) return ErrnoError(errno, "mount_setattr");
  return absl::OkStatus();
}

absl::Status MapMountIds(int mount, int userns) {
  struct mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<uint64_t>(userns);
  if (syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
    return ErrnoError(errno, "map the ids of a mount");
  }
  return absl::OkStatus();
}

}  // namespace berth::sys
