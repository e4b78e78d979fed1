#include "runtime/container/console.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>

#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::container {
namespace {

constexpr gid_t kTtyGroup = 5;

absl::StatusOr<sys::UniqueFd> OpenPtmx(int root) {
  ASSIGN_OR_RETURN(sys::UniqueFd master, sys::OpenBeneath(root, "dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
  struct statfs fs;
  if (fstatfs(master.get(), &fs) != 0) return ErrnoError(errno, "fstatfs '/dev/pts/ptmx'");
  if (fs.f_type != DEVPTS_SUPER_MAGIC) return absl::FailedPreconditionError("'/dev/pts' is not a devpts");
  return master;
}

absl::Status BindConsole(int root, int slave) {
  ASSIGN_OR_RETURN(sys::UniqueFd target,
                   sys::OpenBeneath(root, "dev/console", O_RDONLY | O_CREAT | O_NOCTTY | O_NONBLOCK, 0600));
  ASSIGN_OR_RETURN(sys::UniqueFd mount, sys::CloneTree(slave, "", false));
  return sys::AttachMount(mount.get(), target.get(), "/dev/console");
}

}  // namespace

absl::StatusOr<Console> MakeConsole(uid_t uid) {
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open("/", O_PATH | O_DIRECTORY));
  Console console;
  ASSIGN_OR_RETURN(console.master, OpenPtmx(root.get()));
  int unlock = 0;
  if (ioctl(console.master.get(), TIOCSPTLCK, &unlock) != 0) return ErrnoError(errno, "TIOCSPTLCK");
  console.slave.Reset(ioctl(console.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!console.slave) return ErrnoError(errno, "TIOCGPTPEER");
  if (fchown(console.slave.get(), uid, kTtyGroup) != 0) return ErrnoError(errno, "chown of the terminal");
  if (fchmod(console.slave.get(), 0620) != 0) return ErrnoError(errno, "chmod of the terminal");
  RETURN_IF_ERROR(BindConsole(root.get(), console.slave.get()));
  return console;
}

absl::Status TakeTerminal(int slave) {
  if (ioctl(slave, TIOCSCTTY, 0) != 0) return ErrnoError(errno, "TIOCSCTTY");
  return absl::OkStatus();
}

}  // namespace berth::container
