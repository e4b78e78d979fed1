#include "runtime/rootfs/device_nodes.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::rootfs {
namespace {

using sys::UniqueFd;

struct DefaultNode {
  const char* path;
  uint32_t major, minor;
};
constexpr DefaultNode kDefaults[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                                     {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
// Not devices of the host to hand out: mounts, and terminals that belong to one process.
constexpr absl::string_view kNotShared[] = {"pts", "shm",       "mqueue", "console", "ptmx",
                                            "fd",  "hugepages", ".lxc",   ".udev"};
constexpr int kMaxDepth = 8;

bool IsDefault(absl::string_view path) {
  return std::any_of(std::begin(kDefaults), std::end(kDefaults), [&](const DefaultNode& n) { return path == n.path; });
}

absl::StatusOr<UniqueFd> CloneNode(int node) {
  ASSIGN_OR_RETURN(UniqueFd mount, sys::CloneTree(node, "", false));
  RETURN_IF_ERROR(sys::SetMountAttrs(mount.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                                     MOUNT_ATTR_NODEV, 0, false));
  return mount;
}

absl::Status AddNode(int fd, const struct stat& st, const std::string& path, std::vector<HostDevice>& out) {
  ASSIGN_OR_RETURN(UniqueFd mount, CloneNode(fd), path);
  out.push_back({path, S_ISBLK(st.st_mode) ? 'b' : 'c', major(st.st_rdev), minor(st.st_rdev), std::move(mount),
                 st.st_mode & 07777, st.st_uid, st.st_gid});
  return absl::OkStatus();
}

// Devices come and go while the tree is read: one that is gone is none. Symlinks stay behind.
absl::Status AddTree(int dir, const std::string& container_path, bool top_of_dev, int depth,
                     std::vector<HostDevice>& out) {
  if (depth > kMaxDepth) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<std::string> names, sys::ListDir(dir));
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(container_path, "/", name);
    if (top_of_dev &&
        (std::find(std::begin(kNotShared), std::end(kNotShared), name) != std::end(kNotShared) || IsDefault(path))) {
      continue;
    }
    auto node = sys::OpenAt(dir, name, O_PATH | O_NOFOLLOW);
    if (!node.ok()) continue;
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(node->get(), path));
    if (S_ISDIR(st.st_mode)) {
      auto sub = sys::OpenAt(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      if (sub.ok()) RETURN_IF_ERROR(AddTree(sub->get(), path, false, depth + 1, out));
    } else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
      RETURN_IF_ERROR(AddNode(node->get(), st, path, out));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<DeviceNodes> DeviceNodes::Open() {
  DeviceNodes out;
  for (const DefaultNode& node : kDefaults) {
    ASSIGN_OR_RETURN(UniqueFd fd, sys::Open(node.path, O_PATH | O_NOFOLLOW));
    ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd.get(), node.path));
    if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(node.major, node.minor)) {
      return absl::FailedPreconditionError(
          absl::StrCat("'", node.path, "' of the host is not the device ", node.major, ":", node.minor));
    }
    out.nodes_.push_back({node.path, node.major, node.minor, std::move(fd)});
  }
  return out;
}

absl::StatusOr<std::vector<HostDevice>> DeviceNodes::Clone() const {
  std::vector<HostDevice> out;
  for (const Node& node : nodes_) {
    ASSIGN_OR_RETURN(UniqueFd mount, CloneNode(node.fd.get()), node.path);
    out.push_back({node.path, 'c', node.major, node.minor, std::move(mount)});
  }
  return out;
}

absl::StatusOr<std::vector<HostDevice>> OpenHostDevices(absl::string_view host_path, absl::string_view container_path) {
  ASSIGN_OR_RETURN(UniqueFd fd, sys::Open(host_path, O_PATH));
  ASSIGN_OR_RETURN(struct stat st, sys::StatFd(fd.get(), host_path));
  std::vector<HostDevice> out;
  const std::string target(container_path.empty() ? host_path : container_path);
  if (S_ISDIR(st.st_mode)) {
    ASSIGN_OR_RETURN(UniqueFd dir, sys::Open(host_path, O_RDONLY | O_DIRECTORY));
    RETURN_IF_ERROR(AddTree(dir.get(), target, false, 0, out));
    return out;
  }
  if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("'", host_path, "' is not a device"));
  }
  RETURN_IF_ERROR(AddNode(fd.get(), st, target, out));
  return out;
}

absl::StatusOr<std::vector<HostDevice>> OpenAllHostDevices() {
  ASSIGN_OR_RETURN(UniqueFd dev, sys::Open("/dev", O_RDONLY | O_DIRECTORY));
  std::vector<HostDevice> out;
  RETURN_IF_ERROR(AddTree(dev.get(), "/dev", true, 0, out));
  return out;
}

}  // namespace berth::rootfs
