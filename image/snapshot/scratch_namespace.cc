#include "image/snapshot/scratch_namespace.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"
#include "runtime/sys/namespace.h"

namespace berth::image {
namespace {

// A thread that shares nothing of the file system with the others: namespaces of mounts are only for such.
absl::Status InThread(const std::function<absl::Status()>& body) {
  absl::Status status;
  std::thread([&] {
    status = sys::Unshare(CLONE_FS);
    if (status.ok()) status = body();
  }).join();
  return status;
}

absl::Status EnterEmptyDirectory() {
  ASSIGN_OR_RETURN(sys::UniqueFd dir,
                   sys::MountDetached("tmpfs", {sys::FsOption::String("mode", "700")}, MOUNT_ATTR_NOEXEC));
  ASSIGN_OR_RETURN(sys::UniqueFd at, sys::Open("/mnt", O_PATH | O_DIRECTORY));
  RETURN_IF_ERROR(sys::AttachMount(dir.get(), at.get(), "/mnt"));
  if (fchdir(dir.get()) != 0) return ErrnoError(errno, "fchdir");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ScratchNamespace> ScratchNamespace::Make() {
  sys::UniqueFd ns;
  RETURN_IF_ERROR(InThread([&]() -> absl::Status {
                    RETURN_IF_ERROR(sys::Unshare(CLONE_NEWNS));
                    ASSIGN_OR_RETURN(ns, sys::Open("/proc/thread-self/ns/mnt", O_RDONLY));
                    return sys::ReplaceRootByEmptyTmpfs("/proc");
                  }),
                  "scratch mount namespace");
  return ScratchNamespace(std::move(ns));
}

absl::Status ScratchNamespace::Run(const std::function<absl::Status()>& body) const {
  return InThread([&]() -> absl::Status {
    RETURN_IF_ERROR(sys::JoinNamespaces(ns_.get(), CLONE_NEWNS, "mnt"));
    RETURN_IF_ERROR(sys::Unshare(CLONE_NEWNS));
    RETURN_IF_ERROR(EnterEmptyDirectory());
    absl::Status status = body();
    // The thread's end would do it too, but a little after the thread was joined.
    if (umount2("/mnt", MNT_DETACH) != 0) status.Update(ErrnoError(errno, "umount '/mnt'"));
    return status;
  });
}

}  // namespace berth::image
