// Volumes that come from images: those of the request, and those that the container's own image declares.
#include <sys/mount.h>

#include <cerrno>

#include "cri/pod/engine.h"
#include "cri/spec/mount_attrs.h"
#include "cri/spec/volume_paths.h"
#include "runtime/sys/mount.h"

namespace berth::pod {

using state::v1::Container;
using state::v1::ContainerSpec;

// Which images the mounts name, noted in the mounts.
absl::StatusOr<std::vector<ImageId>> Engine::FindImageVolumes(ContainerSpec& spec) {
  std::vector<ImageId> ids;
  for (state::v1::Mount& m : *spec.mutable_mounts()) {
    if (m.image().empty()) continue;
    auto image = parts_.images.Find(m.image());
    RETURN_IF_ERROR(image, "mounts.image");
    m.set_image_id(image->id.str());
    ids.push_back(image->id);
  }
  return ids;
}

absl::StatusOr<std::vector<sys::UniqueFd>> Engine::MountImageVolumes(const Container& container) {
  std::vector<sys::UniqueFd> mounts;
  for (const state::v1::Mount& m : container.spec().mounts()) {
    if (m.image().empty()) continue;
    auto mount = parts_.images.MountImage(ContainerId(container.id()), ImageId(m.image_id()), m.image_sub_path());
    // Kubelets look for the word at the beginning of the message.
    const auto unusable = [&](absl::string_view why) {
      return absl::StrCat("ImageVolumeMountFailed: mounts.image_sub_path: '", m.image_sub_path(), "' ", why,
                          " in image '", m.image(), "'");
    };
    const int err = ErrnoOf(mount.status());
    if (err == ENOENT) return absl::NotFoundError(unusable("does not exist"));
    if (err == ENOTDIR) return absl::FailedPreconditionError(unusable("is not a directory"));
    if (err == ELOOP) return absl::FailedPreconditionError(unusable("is a symlink without end"));
    RETURN_IF_ERROR(mount, "mounts.image");
    ASSIGN_OR_RETURN(uint64_t attrs, spec::MountAttrs(m));
    RETURN_IF_ERROR(sys::SetMountAttrs(mount->get(), attrs, 0, MS_PRIVATE, false), "mounts.image");
    mounts.push_back(*std::move(mount));
  }
  return mounts;
}

absl::StatusOr<std::vector<spec::Volume>> Engine::MakeConfigVolumes(const Container& container,
                                                                    const std::vector<std::string>& declared,
                                                                    int rootfs) {
  std::vector<spec::Volume> volumes;
  if (!options_.config_volumes) return volumes;
  ASSIGN_OR_RETURN(std::vector<std::string> paths, spec::ConfigVolumes(declared, container.spec()));
  for (const std::string& path : paths) {
    auto copy = parts_.images.CopyVolume(ContainerId(container.id()), rootfs, path);
    if (ErrnoOf(copy.status()) == ENOTDIR || ErrnoOf(copy.status()) == ELOOP) {
      return absl::FailedPreconditionError(absl::StrCat("image.image: its configuration declares a volume at '", path,
                                                        "', which is not a directory in it"));
    }
    RETURN_IF_ERROR(copy, "volume '", path, "' of the image");
    // Where the image's symlinks led: asked again what was asked of the path before.
    RETURN_IF_ERROR(spec::CheckVolumePath(copy->path));
    if (spec::IsMountedOver(container.spec(), copy->path)) continue;
    volumes.push_back({copy->path, std::move(copy->mount)});
  }
  return volumes;
}

}  // namespace berth::pod
