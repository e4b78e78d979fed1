#include "cli/pod/volumes.h"

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/unique_fd.h"

namespace berth::cli {
namespace {

absl::Status MakeEmptyDir(const std::string& path, const std::optional<int64_t>& group) {
  RETURN_IF_ERROR(sys::MakeDirs(path, 0755));
  ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  mode_t mode = 0777;
  if (group) {
    if (fchown(fd.get(), static_cast<uid_t>(-1), static_cast<gid_t>(*group)) != 0) {
      return ErrnoError(errno, absl::StrCat("chown '", path, "'"));
    }
    mode |= S_ISGID;
  }
  if (fchmod(fd.get(), mode) != 0) return ErrnoError(errno, absl::StrCat("chmod '", path, "'"));
  return absl::OkStatus();
}

bool HasType(mode_t mode, absl::string_view type) {
  if (absl::StartsWith(type, "Directory")) return S_ISDIR(mode);
  if (absl::StartsWith(type, "File")) return S_ISREG(mode);
  if (type == "Socket") return S_ISSOCK(mode);
  if (type == "CharDevice") return S_ISCHR(mode);
  return S_ISBLK(mode);
}

absl::Status CheckHostPath(const manifest::Volume& volume) {
  const std::string &path = volume.host_path, &type = volume.host_path_type;
  if (type.empty()) return absl::OkStatus();  // whatever is there; the daemon makes a directory of nothing
  struct stat st;
  if (stat(path.c_str(), &st) != 0) {
    if (errno != ENOENT) return ErrnoError(errno, absl::StrCat("stat '", path, "'"));
    if (type == "DirectoryOrCreate") return sys::MakeDirs(path, 0755);
    if (type == "FileOrCreate") return sys::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0644).status();
    return absl::FailedPreconditionError(absl::StrCat("'", path, "' does not exist"));
  }
  if (HasType(st.st_mode, type)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("'", path, "' is not a ", type));
}

absl::StatusOr<std::string> SubPath(const std::string& volume, const std::string& sub_path) {
  ASSIGN_OR_RETURN(sys::UniqueFd root, sys::Open(volume, O_PATH | O_DIRECTORY));
  auto target = sys::OpenInRoot(root.get(), sub_path, O_PATH);
  if (!target.ok() && ErrnoOf(target.status()) == ENOENT) {
    target = sys::MakeDirsInRoot(root.get(), sub_path, 0755);
  }
  RETURN_IF_ERROR(target);
  // The name of what was resolved, so that the path that goes to the daemon has no symlink of the
  // volume in it.
  char name[PATH_MAX];
  std::string link = absl::StrCat("/proc/self/fd/", target->get());
  ssize_t length = readlink(link.c_str(), name, sizeof name);
  if (length < 0) return ErrnoError(errno, absl::StrCat("readlink '", link, "'"));
  return std::string(name, static_cast<size_t>(length));
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> MakeVolumes(const manifest::Pod& pod,
                                                               const manifest::HostFacts& host) {
  std::map<std::string, std::string> paths;
  for (const manifest::Volume& volume : pod.volumes) {
    if (volume.empty_dir) {
      std::string path = absl::StrCat(manifest::VolumeDirectory(host), "/", volume.name);
      RETURN_IF_ERROR(MakeEmptyDir(path, pod.fs_group), "volume ", volume.name);
      paths[volume.name] = path;
    } else {
      RETURN_IF_ERROR(CheckHostPath(volume), "volume ", volume.name);
      paths[volume.name] = volume.host_path;
    }
  }
  return paths;
}

absl::StatusOr<std::vector<std::string>> MountSources(const manifest::Container& container,
                                                      const std::map<std::string, std::string>& volumes) {
  std::vector<std::string> sources;
  for (const manifest::VolumeMount& mount : container.mounts) {
    std::string source = volumes.at(mount.volume);  // names were checked when the manifest was read
    if (!mount.sub_path.empty()) {
      ASSIGN_OR_RETURN(source, SubPath(source, mount.sub_path), "volume ", mount.volume, ": subPath ", mount.sub_path);
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

absl::Status RemoveDirectory(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0 || slash + 1 == path.size()) {
    return absl::InvalidArgumentError(absl::StrCat("not removing '", path, "'"));
  }
  auto parent = sys::Open(path.substr(0, slash), O_RDONLY | O_DIRECTORY);
  if (!parent.ok() && ErrnoOf(parent.status()) == ENOENT) return absl::OkStatus();
  RETURN_IF_ERROR(parent);
  return sys::RemoveTreeAt(parent->get(), path.substr(slash + 1));
}

}  // namespace berth::cli
