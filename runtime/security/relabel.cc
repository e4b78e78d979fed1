#include "runtime/security/relabel.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "runtime/sys/file.h"

namespace berth::security {
namespace {

constexpr char kLabel[] = "security.selinux";
constexpr absl::string_view kHostDirectories[] = {
    "/",        "/bin",     "/boot",    "/dev",       "/etc",      "/etc/passwd", "/etc/pki", "/etc/shadow",
    "/etc/ssl", "/home",    "/lib",     "/lib32",     "/lib64",    "/libx32",     "/media",   "/mnt",
    "/opt",     "/proc",    "/root",    "/run",       "/sbin",     "/srv",        "/sys",     "/tmp",
    "/usr",     "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin", "/usr/share",  "/var",     "/var/cache",
    "/var/lib", "/var/log", "/var/run", "/var/spool", "/var/tmp"};

// Through /proc, because setxattr(2) takes no O_PATH descriptor. The link leads to the very file, even a symlink.
std::string LinkTo(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

absl::Status SetLabel(int fd, const std::string& label, absl::string_view name) {
  const std::string path = LinkTo(fd);
  char now[256];
  const ssize_t n = getxattr(path.c_str(), kLabel, now, sizeof now);
  // The kernel's own answer ends with a NUL, as what is written does.
  if (n == static_cast<ssize_t>(label.size()) + 1 && label.compare(0, label.size(), now, label.size()) == 0) {
    return absl::OkStatus();
  }
  if (setxattr(path.c_str(), kLabel, label.c_str(), label.size() + 1, 0) == 0) return absl::OkStatus();
  return ErrnoError(errno, absl::StrCat("label '", name, "'"));
}

absl::StatusOr<struct statx> Look(int fd, absl::string_view name) {
  struct statx out;
  if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MNT_ID, &out) != 0) {
    return ErrnoError(errno, absl::StrCat("statx '", name, "'"));
  }
  return out;
}

}  // namespace

bool IsHostDirectory(absl::string_view path) {
  for (absl::string_view own : kHostDirectories) {
    if (path == own) return true;
  }
  return false;
}

absl::Status Relabel(absl::string_view path, const std::string& label) {
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open(path, O_PATH));
  char real[4096];
  const ssize_t n = readlink(LinkTo(root.get()).c_str(), real, sizeof real);
  if (n < 0) return ErrnoError(errno, absl::StrCat("readlink '", path, "'"));
  if (IsHostDirectory(absl::string_view(real, static_cast<size_t>(n)))) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' belongs to the host and is not relabelled"));
  }
  ASSIGN_OR_RETURN(const struct statx top, Look(root.get(), path));
  absl::Status status = SetLabel(root.get(), label, path);
  if (ErrnoOf(status) == ENOTSUP) return absl::OkStatus();
  RETURN_IF_ERROR(status);
  if (!S_ISDIR(top.stx_mode)) return absl::OkStatus();
  std::vector<std::string> directories = {"."};
  while (!directories.empty()) {
    const std::string name = std::move(directories.back());
    directories.pop_back();
    auto dir = sys::OpenBeneath(root.get(), name, O_RDONLY | O_DIRECTORY);
    if (ErrnoOf(dir.status()) == ENOENT) continue;  // its users may change it meanwhile
    RETURN_IF_ERROR(dir);
    ASSIGN_OR_RETURN(std::vector<std::string> entries, sys::ListDir(dir->get()));
    for (const std::string& entry : entries) {
      auto file = sys::OpenBeneath(dir->get(), entry, O_PATH | O_NOFOLLOW);
      if (ErrnoOf(file.status()) == ENOENT) continue;
      RETURN_IF_ERROR(file);
      ASSIGN_OR_RETURN(const struct statx st, Look(file->get(), entry));
      if (st.stx_mnt_id != top.stx_mnt_id) continue;
      RETURN_IF_ERROR(SetLabel(file->get(), label, entry));
      if (S_ISDIR(st.stx_mode)) directories.push_back(absl::StrCat(name, "/", entry));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::security
