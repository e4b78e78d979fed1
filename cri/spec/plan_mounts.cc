// The mounts of a plan: the standard ones, the files of the sandbox, the image's volumes and the request's.
#include <fcntl.h>

#include "cri/spec/launch_plan.h"
#include "cri/spec/mount_attrs.h"
#include "cri/spec/volume_paths.h"
#include "runtime/rootfs/bind.h"
#include "runtime/rootfs/plan.h"
#include "runtime/security/relabel.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount.h"

namespace berth::spec {
namespace {

using state::v1::ContainerSpec;

rootfs::Propagation PropagationOf(state::v1::Mount::Propagation p) {
  switch (p) {
    case state::v1::Mount::HOST_TO_CONTAINER:
      return rootfs::Propagation::kHostToContainer;
    case state::v1::Mount::BIDIRECTIONAL:
      return rootfs::Propagation::kBidirectional;
    default:
      return rootfs::Propagation::kPrivate;
  }
}

absl::StatusOr<rootfs::Bind> OpenVolume(const state::v1::Mount& m) {
  ASSIGN_OR_RETURN(uint64_t attrs, MountAttrs(m));
  rootfs::BindRequest request{m.host_path(), m.readonly(), m.recursive_readonly(), PropagationOf(m.propagation()),
                              attrs};
  RETURN_IF_ERROR(rootfs::CheckPropagation(request), "mounts.propagation");
  auto bind = rootfs::OpenBind(request);
  // FALLBACK(linux<5.12): there is nothing to fall back to; kubelets look for the word at the message's beginning.
  if (m.recursive_readonly() && absl::IsUnimplemented(bind.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("RROUnsupported: mounts.recursive_read_only: ", bind.status().message()));
  }
  RETURN_IF_ERROR(bind, "mounts.host_path");
  return bind;
}

absl::Status AddBind(const state::v1::Mount& m, PlanFds& fds, std::vector<rootfs::Attachment>& out) {
  ASSIGN_OR_RETURN(rootfs::Bind bind, OpenVolume(m));
  out.push_back({m.container_path(), fds.Own(std::move(bind.mount)), bind.file,
                 m.propagation() == state::v1::Mount::BIDIRECTIONAL});
  return absl::OkStatus();
}

bool Mounts(const ContainerSpec& spec, absl::string_view path) {
  for (const auto& m : spec.mounts()) {
    auto target = rootfs::CleanTarget(m.container_path());
    if (target.ok() && *target == path) return true;
  }
  return false;
}

// hosts, hostname and resolv.conf of the pod, unless the request brings its own, or has mounted the host's /etc so that
// they would cover the host's.
absl::Status AddSandboxFiles(const LaunchInput& input, PlanFds& fds, std::vector<rootfs::Attachment>& out) {
  const ContainerSpec& spec = input.container.spec();
  for (const char* name : {"hosts", "hostname", "resolv.conf"}) {
    std::string target = absl::StrCat("/etc/", name);
    if (Mounts(spec, target) || !SharedMountAbove(spec, target).empty()) continue;
    rootfs::BindRequest request{absl::StrCat(input.pod_dir, "/", name), spec.security().readonly_rootfs(), false,
                                rootfs::Propagation::kPrivate};
    ASSIGN_OR_RETURN(rootfs::Bind bind, rootfs::OpenBind(request));
    out.push_back({target, fds.Own(std::move(bind.mount)), bind.file});
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LaunchPlanner::AddMounts(LaunchInput& input, Launch& out) {
  const ContainerSpec& spec = input.container.spec();
  rootfs::MountPlanInput mounts;
  mounts.privileged = spec.security().privileged();
  mounts.cgroup_v2 = cgroups_.version() == cgroup::Version::kV2;
  ASSIGN_OR_RETURN(auto hierarchies, cgroups_.Mounts(input.container.cgroup_path(), mounts.privileged));
  for (auto& h : hierarchies) mounts.cgroup_v1.push_back({h.name, out.fds.Own(std::move(h.mount)), false});

  bool host_ipc = input.pod.spec().namespaces().ipc() == state::v1::NODE;
  std::string shm_path = host_ipc ? "/dev/shm" : input.pod_dir + "/shm";
  ASSIGN_OR_RETURN(sys::UniqueFd shm, sys::CloneTree(AT_FDCWD, shm_path, false));
  mounts.shm_fd = out.fds.Own(std::move(shm));

  RETURN_IF_ERROR(AddSandboxFiles(input, out.fds, mounts.volumes));
  for (Volume& volume : input.config_volumes) {
    mounts.volumes.push_back({volume.container_path, out.fds.Own(std::move(volume.mount)), false});
  }
  for (const auto& m : input.device_mounts) {
    if (!Mounts(spec, m.container_path())) RETURN_IF_ERROR(AddBind(m, out.fds, mounts.volumes), "devices");
  }
  auto image_volume = input.image_volumes.begin();
  for (const auto& m : spec.mounts()) {
    if (m.image().empty()) {
      RETURN_IF_ERROR(AddBind(m, out.fds, mounts.volumes));
      if (m.selinux_relabel() && !input.selinux.mount.empty()) {
        RETURN_IF_ERROR(security::Relabel(m.host_path(), input.selinux.mount), "mounts.selinux_relabel");
      }
    } else {
      mounts.volumes.push_back({m.container_path(), out.fds.Own(std::move(*image_volume++)), false});
    }
  }
  ASSIGN_OR_RETURN(auto steps, rootfs::PlanMounts(mounts), "mounts.container_path");
  rootfs::AddSelinuxContexts(input.selinux.mount, input.selinux.pod, steps);
  for (auto& step : steps) *out.plan.add_mounts() = std::move(step);
  return absl::OkStatus();
}

}  // namespace berth::spec
