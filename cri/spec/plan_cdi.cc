// CDI: the edits that a request's devices stand for, as further parts of that request.
#include <fcntl.h>

#include "absl/strings/match.h"
#include "cri/spec/annotations.h"
#include "cri/spec/launch_plan.h"
#include "runtime/sys/file.h"

namespace berth::spec {
namespace {

using state::v1::Mount;

absl::Status SetOption(const std::string& option, Mount& mount) {
  if (option == "ro") {
    mount.set_readonly(true);
  } else if (option == "nosuid" || option == "nodev" || option == "noexec") {
    mount.add_mount_options(option);
  } else if (option == "rslave" || option == "slave") {
    mount.set_propagation(Mount::HOST_TO_CONTAINER);
  } else if (option == "rshared" || option == "shared") {
    mount.set_propagation(Mount::BIDIRECTIONAL);
  } else if (option != "rw" && option != "bind" && option != "rbind" && option != "rprivate" && option != "private" &&
             option != "suid" && option != "dev" && option != "exec") {
    return absl::UnimplementedError(absl::StrCat("the mount option '", option, "'"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Mount> ToMount(const cdi::Mount& in) {
  if (!in.type.empty() && in.type != "bind" && in.type != "none") {
    return absl::UnimplementedError(absl::StrCat("a mount of type '", in.type, "'"));
  }
  if (!absl::StartsWith(in.host_path, "/") || !absl::StartsWith(in.container_path, "/")) {
    return absl::InvalidArgumentError(
        absl::StrCat("the mount of '", in.host_path, "' at '", in.container_path, "' is not of absolute paths"));
  }
  // A volume's missing source is made; that of a device is a mistake.
  RETURN_IF_ERROR(sys::Open(in.host_path, O_PATH).status());
  Mount mount;
  mount.set_host_path(in.host_path);
  mount.set_container_path(in.container_path);
  for (const std::string& option : in.options) RETURN_IF_ERROR(SetOption(option, mount));
  return mount;
}

}  // namespace

absl::StatusOr<cdi::Edits> LaunchPlanner::ResolveCdi(const state::v1::ContainerSpec& spec) {
  ASSIGN_OR_RETURN(const std::vector<std::string> devices, CdiDevicesOf(spec));
  if (devices.empty()) return cdi::Edits();
  if (options_.cdi == nullptr) return absl::FailedPreconditionError("CDI_devices: there are no CDI directories");
  ASSIGN_OR_RETURN(cdi::Edits edits, options_.cdi->Resolve(devices), "CDI_devices");
  return edits;
}

void LaunchPlanner::ApplyCdi(const cdi::Edits& edits, state::v1::ContainerSpec& spec) {
  for (const std::string& e : edits.env) {
    state::v1::Env& env = *spec.add_envs();
    env.set_key(e.substr(0, e.find('=')));
    env.set_value(e.substr(e.find('=') + 1));
  }
  for (uint32_t gid : edits.gids) spec.mutable_security()->add_supplemental_groups(gid);
}

absl::StatusOr<std::vector<state::v1::Mount>> LaunchPlanner::MountsOf(const cdi::Edits& edits) {
  std::vector<state::v1::Mount> out;
  for (const cdi::Mount& m : edits.mounts) {
    ASSIGN_OR_RETURN(state::v1::Mount mount, ToMount(m), "CDI_devices");
    out.push_back(std::move(mount));
  }
  return out;
}

}  // namespace berth::spec
