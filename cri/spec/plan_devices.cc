// The devices of a plan: nodes in /dev, and the cgroup's rules of who may open them.
#include "cri/spec/launch_plan.h"

namespace berth::spec {

using state::v1::ContainerSpec;

absl::Status LaunchPlanner::AddDevices(const LaunchInput& input, Launch& out, std::vector<cgroup::DeviceRule>& rules) {
  const ContainerSpec& spec = input.container.spec();
  auto add = [&](std::vector<rootfs::HostDevice> devices, const std::string& access) {
    for (rootfs::HostDevice& d : devices) {
      shim::v1::DeviceNode& node = *out.plan.add_devices();
      node.set_path(d.path);
      node.set_fd(out.fds.Own(std::move(d.mount)));
      if (!access.empty()) rules.push_back({d.type, d.major, d.minor, access});
    }
  };
  bool privileged = spec.security().privileged();
  rules = privileged ? cgroup::AllDeviceRules() : cgroup::DefaultDeviceRules();
  ASSIGN_OR_RETURN(auto defaults, devices_.Clone());
  add(std::move(defaults), "");
  if (privileged) {
    ASSIGN_OR_RETURN(auto all, rootfs::OpenAllHostDevices());
    add(std::move(all), "");
  }
  for (const auto& d : spec.devices()) {
    ASSIGN_OR_RETURN(auto devices, rootfs::OpenHostDevices(d.host_path(), d.container_path()), "devices.host_path");
    add(std::move(devices), d.permissions().empty() ? "rwm" : d.permissions());
  }
  return absl::OkStatus();
}

}  // namespace berth::spec
