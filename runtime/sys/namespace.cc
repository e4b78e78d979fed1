#include "runtime/sys/namespace.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "runtime/sys/unique_fd.h"

namespace berth::sys {

absl::Status Unshare(int flags) {
  if (unshare(flags) != 0) return ErrnoError(errno, "unshare");
  return absl::OkStatus();
}

absl::Status JoinNamespaces(int fd, int flags, absl::string_view what) {
  if (setns(fd, flags) != 0) return ErrnoError(errno, absl::StrCat("setns ", what));
  return absl::OkStatus();
}

absl::Status SetHostname(absl::string_view name) {
  if (sethostname(name.data(), name.size()) != 0) return ErrnoError(errno, absl::StrCat("sethostname '", name, "'"));
  return absl::OkStatus();
}

absl::Status BringLoopbackUp() {
  UniqueFd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!any) return ErrnoError(errno, "socket for the loopback interface");
  ifreq request = {};
  strcpy(request.ifr_name, "lo");
  if (ioctl(any.get(), SIOCGIFFLAGS, &request) != 0) return ErrnoError(errno, "flags of the loopback interface");
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (ioctl(any.get(), SIOCSIFFLAGS, &request) != 0) return ErrnoError(errno, "setting the loopback interface up");
  return absl::OkStatus();
}

absl::Status ReplaceRootByEmptyTmpfs(absl::string_view mountpoint) {
  const std::string at(mountpoint);
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return ErrnoError(errno, "making / private");
  if (mount("berth", at.c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=64k,nr_inodes=16") != 0) {
    return ErrnoError(errno, absl::StrCat("mount tmpfs on '", at, "'"));
  }
  if (chdir(at.c_str()) != 0) return ErrnoError(errno, "chdir to the template root");
  if (mkdir("mnt", 0755) != 0) return ErrnoError(errno, "mkdir /mnt");
  // Both the new and the old root are ".": the old one ends up on top, and is detached with all below it.
  if (syscall(SYS_pivot_root, ".", ".") != 0) return ErrnoError(errno, "pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return ErrnoError(errno, "detaching the old root");
  if (chdir("/") != 0) return ErrnoError(errno, "chdir to /");
  return absl::OkStatus();
}

}  // namespace berth::sys
