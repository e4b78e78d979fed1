#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "runtime/rootfs/steps.h"
#include "runtime/rootfs/target.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::rootfs {
namespace {

using shim::v1::DeviceNode;
using sys::UniqueFd;

struct Link {
  const char* name;
  const char* target;
};
constexpr Link kLinks[] = {{"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
                           {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},      {"ptmx", "pts/ptmx"}};

// A node that belongs to this container alone. In /dev it lies on our tmpfs; elsewhere it may be where others can write
// (a volume), so that after mknod only what is verified to be this node gets its owner.
absl::Status MakeOwnNode(Build& build, const DeviceNode& device) {
  const DeviceNode::Own& own = device.own();
  const size_t slash = device.path().rfind('/');
  if (slash == std::string::npos || slash + 1 == device.path().size()) {
    return absl::InvalidArgumentError(absl::StrCat("device path '", device.path(), "'"));
  }
  ASSIGN_OR_RETURN(UniqueFd dir, MakeTargetDir(build.rootfs, absl::string_view(device.path()).substr(0, slash)));
  const std::string name = device.path().substr(slash + 1);
  const mode_t type = own.block() ? S_IFBLK : S_IFCHR;
  const dev_t number = makedev(own.major(), own.minor());
  if (mknodat(dir.get(), name.c_str(), type | own.mode(), number) != 0) {
    if (errno != EEXIST) return ErrnoError(errno, absl::StrCat("mknod '", device.path(), "'"));
    if (unlinkat(dir.get(), name.c_str(), 0) != 0 || mknodat(dir.get(), name.c_str(), type | own.mode(), number) != 0) {
      return ErrnoError(errno, absl::StrCat("replace '", device.path(), "' by a device"));
    }
  }
  ASSIGN_OR_RETURN(UniqueFd node, sys::OpenAt(dir.get(), name, O_PATH | O_NOFOLLOW));
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(node.get(), device.path()));
  if ((st.st_mode & S_IFMT) != type || st.st_rdev != number) {
    return absl::FailedPreconditionError(absl::StrCat("'", device.path(), "' changes while it is made"));
  }
  if (fchownat(node.get(), "", own.uid(), own.gid(), AT_EMPTY_PATH) != 0) {
    return ErrnoError(errno, absl::StrCat("chown '", device.path(), "'"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status VerifyDevices(Build& build) {
  for (const DeviceNode& device : build.plan.devices()) {
    if (device.has_own()) continue;
    ASSIGN_OR_RETURN(const int fd, PlanFd(build.fds, device.fd(), device.path()));
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd, device.path()));
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
      return absl::FailedPreconditionError(absl::StrCat("'", device.path(), "' is not a device"));
    }
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3)) build.null = fd;
  }
  return absl::OkStatus();
}

absl::Status AttachDevices(Build& build) {
  for (const DeviceNode& device : build.plan.devices()) {
    // A /dev that came from elsewhere has its own nodes, and nothing is to be made in it.
    if (!build.dev.valid() && absl::StartsWith(device.path(), "/dev/")) continue;
    if (device.has_own()) {
      RETURN_IF_ERROR(MakeOwnNode(build, device));
      continue;
    }
    ASSIGN_OR_RETURN(const int fd, PlanFd(build.fds, device.fd(), device.path()));
    ASSIGN_OR_RETURN(UniqueFd target, MakeTarget(build, device.path(), true));
    RETURN_IF_ERROR(sys::AttachMount(fd, target.get(), device.path()));
    if (fd == build.null) build.null_attached = true;
  }
  if (!build.dev.valid()) return absl::OkStatus();
  for (const Link& link : kLinks) {
    if (symlinkat(link.target, build.dev.get(), link.name) != 0 && errno != EEXIST) {
      return ErrnoError(errno, absl::StrCat("symlink '/dev/", link.name, "'"));
    }
  }
  return absl::OkStatus();
}

absl::Status AttachConsole(Build& build, Terminal& terminal) {
  RETURN_IF_ERROR(OpenTerminal(build.rootfs, build.plan.process().uid(), terminal), "terminal");
  if (!build.dev.valid()) return absl::OkStatus();
  auto console = sys::CloneTree(terminal.slave.get(), "", false);
  // A pty of a devpts that is not mounted in this namespace cannot be cloned; the streams work
  // without /dev/console.
  if (!console.ok() && ErrnoOf(console.status()) == EINVAL) return absl::OkStatus();
  RETURN_IF_ERROR(console, "/dev/console");
  ASSIGN_OR_RETURN(UniqueFd target, MakeTargetFile(build.rootfs, "/dev/console"));
  return sys::AttachMount(console->get(), target.get(), "/dev/console");
}

}  // namespace berth::rootfs
