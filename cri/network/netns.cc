#include "cri/network/netns.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include <cerrno>
#include <thread>

#include "cri/network/rtnetlink.h"
#include "runtime/sys/file.h"

namespace berth::network {

absl::StatusOr<sys::UniqueFd> OpenNetns(absl::string_view path) {
  // Without O_NONBLOCK a FIFO in its place would hold the thread.
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_NONBLOCK), "network namespace");
  struct statfs fs;
  // A plain file is left where the bind was unmounted.
  if (fstatfs(fd.get(), &fs) != 0 || fs.f_type != NSFS_MAGIC || ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is not a network namespace"));
  }
  return fd;
}

absl::Status RunInNetns(int netns, const std::function<absl::Status()>& work) {
  absl::Status status;
  std::thread thread([&] { status = setns(netns, CLONE_NEWNET) == 0 ? work() : ErrnoError(errno, "setns"); });
  thread.join();
  return status;
}

absl::Status BringUpLoopback(int netns) {
  return RunInNetns(netns, []() -> absl::Status {
    ASSIGN_OR_RETURN(RtNetlink rt, RtNetlink::Open());
    return rt.SetUp(kLoopbackIndex);
  });
}

}  // namespace berth::network
