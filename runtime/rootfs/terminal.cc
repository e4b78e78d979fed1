#include "runtime/rootfs/terminal.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/sys/file.h"

namespace berth::rootfs {
namespace {

// Unlike /dev/ptmx, which may be any devpts's, the ptmx in a devpts is its own; nobody can remove or rename it.
absl::StatusOr<sys::UniqueFd> OpenMaster(int root) {
  auto pts = sys::OpenBeneath(root, "dev/pts", O_PATH | O_DIRECTORY);
  struct statfs fs;
  if (!pts.ok() || fstatfs(pts->get(), &fs) != 0 || fs.f_type != DEVPTS_SUPER_MAGIC) {
    return absl::FailedPreconditionError("'/dev/pts' of the container is not a devpts");
  }
  auto master = sys::OpenOnMount(pts->get(), "ptmx", O_RDWR | O_NOCTTY);
  if (ErrnoOf(master.status()) == EXDEV) {
    return absl::FailedPreconditionError("something is mounted over '/dev/pts/ptmx' of the container");
  }
  RETURN_IF_ERROR(master);
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(master->get(), "/dev/pts/ptmx"));
  if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(5, 2)) {
    return absl::FailedPreconditionError("'/dev/pts/ptmx' of the container is another device");
  }
  int unlock = 0;
  if (ioctl(master->get(), TIOCSPTLCK, &unlock) != 0) return ErrnoError(errno, "unlock the pty");
  return master;
}

}  // namespace

absl::Status OpenTerminal(int root, uid_t owner, Terminal& terminal) {
  if (!terminal.master) {
    ASSIGN_OR_RETURN(terminal.master, OpenMaster(root));
  }
  // By descriptor: /dev/pts/N might be anything by the time it is opened (CVE-2025-52565).
  terminal.slave.Reset(ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!terminal.slave) return ErrnoError(errno, "open the pty's slave (TIOCGPTPEER)");
  // The group stays the one of devpts ("tty"). EINVAL: the user is not mapped in this user namespace.
  if (fchown(terminal.slave.get(), owner, static_cast<gid_t>(-1)) != 0 && errno != EINVAL) {
    return ErrnoError(errno, "chown of the terminal");
  }
  return absl::OkStatus();
}

}  // namespace berth::rootfs
