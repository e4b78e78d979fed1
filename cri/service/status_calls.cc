#include <sys/utsname.h>

#include "cri/service/calls.h"
#include "runtime/base/json.h"

namespace berth::service {

absl::Status Calls::Version(const pod::CallContext&, const v1::VersionRequest&, v1::VersionResponse& out) {
  out.set_version("0.1.0");  // of the kubelet's runtime API, which has not moved since; not ours
  out.set_runtime_name("berth");
  out.set_runtime_version(info_.version);
  out.set_runtime_api_version("v1");
  return absl::OkStatus();
}

absl::Status Calls::Status(const pod::CallContext&, const v1::StatusRequest& request, v1::StatusResponse& out) {
  v1::RuntimeCondition& runtime = *out.mutable_status()->add_conditions();
  runtime.set_type("RuntimeReady");
  runtime.set_status(true);
  v1::RuntimeCondition& network = *out.mutable_status()->add_conditions();
  network.set_type("NetworkReady");
  absl::Status ready = network_.Ready();
  network.set_status(ready.ok());
  if (!ready.ok()) {
    network.set_reason("NetworkPluginNotReady");
    network.set_message(absl::StrCat("Network plugin returns error: ", ready.message()));
  }
  // The default handler is listed under its name and as "", which is what a pod without a RuntimeClass asks for.
  for (const char* name : {"", "berth"}) {
    v1::RuntimeHandler& handler = *out.add_runtime_handlers();
    handler.set_name(name);
    handler.mutable_features()->set_recursive_read_only_mounts(info_.features.recursive_read_only);
    handler.mutable_features()->set_user_namespaces(info_.features.user_namespaces);
  }
  out.mutable_features()->set_supplemental_groups_policy(true);
  out.mutable_features()->set_user_namespaces_host_network(info_.features.user_namespaces_host_network);
  out.mutable_features()->set_mount_options(info_.features.mount_options);
  if (request.verbose()) {
    struct utsname kernel = {};
    uname(&kernel);
    Json config = {{"stateDir", info_.state_dir},
                   {"rootDir", info_.root_dir},
                   {"network", info_.network},
                   {"kernel", kernel.release},
                   {"seccomp", info_.confinement.seccomp},
                   {"apparmor", info_.confinement.apparmor},
                   {"selinux", info_.confinement.selinux},
                   {"toml", info_.config}};
    (*out.mutable_info())["config"] = DumpJson(config);
    (*out.mutable_info())["network"] = network_.Describe();
    if (info_.cdi != nullptr) (*out.mutable_info())["cdi"] = info_.cdi->Describe();
  }
  return absl::OkStatus();
}

absl::Status Calls::RuntimeConfig(const pod::CallContext&, const v1::RuntimeConfigRequest&,
                                  v1::RuntimeConfigResponse& out) {
  out.mutable_linux()->set_cgroup_driver(engine_.cgroup_driver() == cgroup::Driver::kSystemd ? v1::SYSTEMD
                                                                                             : v1::CGROUPFS);
  return absl::OkStatus();
}

absl::Status Calls::UpdateRuntimeConfig(const pod::CallContext&, const v1::UpdateRuntimeConfigRequest&,
                                        v1::UpdateRuntimeConfigResponse&) {
  // The pod CIDR that a kubelet tells is of use to a network that is configured from it; neither of ours is.
  return absl::OkStatus();
}

}  // namespace berth::service
