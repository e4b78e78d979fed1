// The devices of a plan: nodes in /dev, and the cgroup's rules of who may open them.
#include "cri/spec/launch_plan.h"
#include "cri/spec/node_set.h"

namespace berth::spec {
namespace {

using state::v1::ContainerSpec;
using Rules = std::vector<cgroup::DeviceRule>;

// What the user of a container may want of nodes that a request names.
NodeOwner OwnerOf(const state::v1::Security& security) {
  NodeOwner owner;
  if (security.has_run_as_user()) owner.uid = static_cast<uint32_t>(security.run_as_user());
  if (security.has_run_as_group()) owner.gid = static_cast<uint32_t>(security.run_as_group());
  return owner;
}

void Allow(const rootfs::HostDevice& device, absl::string_view access, Rules& rules) {
  if (!access.empty()) rules.push_back({device.type, device.major, device.minor, std::string(access)});
}

absl::Status AddAll(std::vector<rootfs::HostDevice> devices, NodeOrigin origin, NodeSet& set) {
  for (rootfs::HostDevice& d : devices) RETURN_IF_ERROR(set.Add({std::move(d), origin, {}}));
  return absl::OkStatus();
}

absl::Status AddRequested(const state::v1::Device& request, const NodeOwner& owner, NodeSet& set, Rules& rules) {
  ASSIGN_OR_RETURN(auto devices, rootfs::OpenHostDevices(request.host_path(), request.container_path()),
                   "devices.host_path");
  for (rootfs::HostDevice& d : devices) {
    Allow(d, request.permissions().empty() ? "rwm" : request.permissions(), rules);
    RETURN_IF_ERROR(set.Add({std::move(d), NodeOrigin::kRequest, owner}), "devices.container_path");
  }
  return absl::OkStatus();
}

// The host's node where there is one; what the spec file says itself needs none.
absl::StatusOr<rootfs::HostDevice> OpenCdiNode(const cdi::DeviceNode& node) {
  if (node.type == 'p') return absl::UnimplementedError(absl::StrCat("'", node.path, "' is a FIFO"));
  const std::string& host_path = node.host_path.empty() ? node.path : node.host_path;
  const bool numbered = node.type != 0 && node.major != 0;
  auto found = rootfs::OpenHostDevices(host_path, node.path);
  if (found.ok() && found->size() == 1 && found->front().path == node.path) {
    rootfs::HostDevice& host = found->front();
    const bool type = node.type == 0 || node.type == host.type;
    const bool numbers = node.major == 0 || (node.major == host.major && node.minor == host.minor);
    if (type && numbers) return std::move(host);
    if (!numbered) {
      return absl::InvalidArgumentError(absl::StrCat("'", host_path, "' of the host is of another type or number"));
    }
  }
  if (!numbered) {
    RETURN_IF_ERROR(found);
    return absl::InvalidArgumentError(absl::StrCat("'", host_path, "' is not a device"));
  }
  return rootfs::HostDevice{node.path, node.type, node.major, node.minor, sys::UniqueFd(), 0666};
}

// As the CDI library has it, a node without an owner is the process's.
absl::Status AddCdiNode(const cdi::DeviceNode& node, const security::ResolvedUser& user, NodeSet& set, Rules& rules) {
  ASSIGN_OR_RETURN(rootfs::HostDevice device, OpenCdiNode(node));
  NodeOwner owner{node.file_mode, node.uid, node.gid};
  if (!owner.uid && user.uid != 0) owner.uid = user.uid;
  if (!owner.gid && user.gid != 0) owner.gid = user.gid;
  Allow(device, node.permissions, rules);
  return set.Add({std::move(device), NodeOrigin::kCdi, owner});
}

void FillOwn(const Node& node, shim::v1::DeviceNode::Own& own) {
  const rootfs::HostDevice& device = node.device;
  own.set_block(device.type == 'b');
  own.set_major(device.major);
  own.set_minor(device.minor);
  own.set_mode(node.owner.mode.value_or(device.mode) & 0777);
  own.set_uid(node.owner.uid.value_or(device.uid));
  own.set_gid(node.owner.gid.value_or(device.gid));
}

}  // namespace

absl::Status LaunchPlanner::AddDevices(const LaunchInput& input, const cdi::Edits& edits, Launch& out, Rules& rules) {
  const ContainerSpec& spec = input.container.spec();
  const bool all = spec.security().privileged() && !options_.privileged_without_host_devices;
  rules = all ? cgroup::AllDeviceRules() : cgroup::DefaultDeviceRules();
  NodeSet set;
  ASSIGN_OR_RETURN(auto defaults, devices_.Clone());
  RETURN_IF_ERROR(AddAll(std::move(defaults), NodeOrigin::kDefault, set));
  if (all) {
    ASSIGN_OR_RETURN(auto devices, rootfs::OpenAllHostDevices());
    RETURN_IF_ERROR(AddAll(std::move(devices), NodeOrigin::kHostAll, set));
  }
  const NodeOwner owner = options_.device_ownership ? OwnerOf(spec.security()) : NodeOwner{};
  for (const auto& d : spec.devices()) RETURN_IF_ERROR(AddRequested(d, owner, set, rules));
  for (const auto& n : edits.nodes) RETURN_IF_ERROR(AddCdiNode(n, out.user, set, rules), "CDI_devices");

  // The kernel lets nobody in a user namespace make nodes: there the host's is shown, whoever it belongs to.
  const bool can_make = input.pod.spec().namespaces().uids_size() == 0;
  for (Node& node : set.nodes()) {
    shim::v1::DeviceNode& planned = *out.plan.add_devices();
    planned.set_path(node.device.path);
    planned.set_fd(-1);
    if (node.own() && can_make) {
      FillOwn(node, *planned.mutable_own());
    } else if (node.device.mount.valid()) {
      planned.set_fd(out.fds.Own(std::move(node.device.mount)));
    } else {
      return absl::FailedPreconditionError(absl::StrCat("CDI_devices: the host has no node for '", node.device.path,
                                                        "', and a pod with a user namespace none of its own"));
    }
  }
  return absl::OkStatus();
}

}  // namespace berth::spec
