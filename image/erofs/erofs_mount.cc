#include "image/erofs/erofs_mount.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "image/erofs/erofs_writer.h"
#include "image/erofs/layer_tree.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::image {
namespace {

constexpr char kName[] = "probe";
constexpr char kText[] = "contents";

// A layer of one file.
absl::Status WriteProbe(int file) {
  LayerTree tree;
  TarEntry entry{.path = kName, .mode = 0644, .size = sizeof kText};
  RETURN_IF_ERROR(tree.OnEntry(entry));
  RETURN_IF_ERROR(tree.OnData(0, 0, kText));
  if (pwrite(file, kText, sizeof kText, kArchiveAt) != sizeof kText) return ErrnoError(errno, "write");
  return WriteErofsIndex(file, sizeof kText, tree.root(), [](uint64_t) { return absl::OkStatus(); }).status();
}

absl::Status CheckProbe(int dir) {
  ASSIGN_OR_RETURN(std::string text, sys::ReadFileAt(dir, kName));
  if (text != std::string(kText, sizeof kText)) return absl::DataLossError("it shows other contents");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<sys::UniqueFd> MountErofs(int file) {
  return sys::MountDetached(
      "erofs", {sys::FsOption::String("source", absl::StrCat("/proc/self/fd/", file)), sys::FsOption::Flag("ro")},
      MOUNT_ATTR_RDONLY);
}

absl::Status TryErofs(int dir) {
  ASSIGN_OR_RETURN(sys::UniqueFd file, sys::OpenAt(dir, ".", O_TMPFILE | O_RDWR, 0600));
  RETURN_IF_ERROR(WriteProbe(file.get()), "write of a layer");
  ASSIGN_OR_RETURN(sys::UniqueFd mount, MountErofs(file.get()));
  RETURN_IF_ERROR(CheckProbe(mount.get()), "mounted layer");
  ASSIGN_OR_RETURN(sys::UniqueFd again, MountErofs(file.get()));
  const sys::FsOption lowers[] = {sys::FsOption::Fd("lowerdir+", mount.get()),
                                  sys::FsOption::Fd("lowerdir+", again.get())};
  ASSIGN_OR_RETURN(sys::UniqueFd overlay, sys::MountDetached("overlay", lowers, 0), "on mounted layers");
  RETURN_IF_ERROR(CheckProbe(overlay.get()), "overlay");
  // User namespaces map the ids of a clone.
  return sys::CloneTree(mount.get(), "", false).status();
}

}  // namespace berth::image
